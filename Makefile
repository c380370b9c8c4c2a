# make run    everything for set 1: prepare, train, test, summary (20 to 50 minutes on 2 CPU cores)
# make quick  the same with tiny settings, into results_quick/ and models_quick/ (3 minutes)
# make test   every test (7 minutes); ESC50_DIR=... adds those on the real recordings
# make faults every script killed, every disk filled at many more moments (under an hour)
# make mutate change the code and see whether the tests notice; MODULES="metrics timeline" for some
# make supply known findings of the packages that requirements.txt brings in
# make bench  every benchmark, into benchmarks/results/ (10 minutes)
# make report the results as one page, results/report.html
# make onnx   the trained networks as ONNX files, into exported/
# make install  .venv and what requirements.txt lists, alone
# make check  style
# make app    the page in a browser; make test-app tests it (both install requirements-app.txt)
# make examples   what predict.py and the page show, with the shipped weights, for the README
# make pictures   the README's, of flow, data and networks, from the recordings that make run prepared
# make docs   the tables of the README and of the pages in results_published/, from the files that hold them

PYTHON ?= python3
VENV = .venv
RUN = $(VENV)/bin/python

install: $(VENV)/installed

run: $(VENV)/installed
	$(RUN) run_all.py

quick: $(VENV)/installed
	$(RUN) run_all.py --epochs 1 --oversample 1 --results results_quick --models models_quick
	@echo "make quick shows that everything runs: after one epoch no network knows anything"

test: $(VENV)/installed
	$(RUN) -m pytest -q

faults: $(VENV)/installed
	$(RUN) -m pytest -q -m faults
	$(RUN) -m pytest -q -m hypothesis --hypothesis-profile long

mutate: $(VENV)/installed-mutate
	$(RUN) tools/mutate.py $(MODULES)

supply: $(VENV)/installed $(VENV)/supply/installed
	$(VENV)/supply/bin/python .ci/supply.py $(VENV)/lib/python*/site-packages \
		requirements-app.txt requirements-mutate.txt requirements-onnx.txt

BENCHMARKS = mixing pitch table downsampling stft train_data train_epoch train_network prepare \
	label growth

bench: $(VENV)/installed
	for name in $(BENCHMARKS); do $(RUN) benchmarks/$$name.py || exit 1; done
	$(RUN) benchmarks/show_all.py

report: $(VENV)/installed
	$(RUN) show_report.py

onnx: $(VENV)/installed-onnx
	$(RUN) export_onnx.py

check: $(VENV)/installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

docs: $(VENV)/installed
	$(RUN) docs/tables.py
	$(RUN) docs/fill_pages.py

pictures: $(VENV)/installed
	$(RUN) docs/draw_data.py

app: $(VENV)/installed-app
	$(RUN) app.py

test-app: $(VENV)/installed-app
	$(RUN) -m pytest -q -n 0 tests_app

examples: $(VENV)/installed-app
	$(RUN) docs/label_example.py
	APP_PICTURE=docs/app.png $(RUN) -m pytest -q -n 0 tests_app -k picture_for_the_readme

$(VENV)/installed-app: requirements-app.txt $(VENV)/installed
	$(VENV)/bin/pip install --disable-pip-version-check -q -r requirements-app.txt
	touch $@

$(VENV)/installed: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --disable-pip-version-check -q -r requirements.txt
	touch $@

$(VENV)/installed-onnx: requirements-onnx.txt $(VENV)/installed
	$(VENV)/bin/pip install --disable-pip-version-check -q -r requirements-onnx.txt
	touch $@

$(VENV)/installed-mutate: requirements-mutate.txt $(VENV)/installed
	$(VENV)/bin/pip install --disable-pip-version-check -q -r requirements-mutate.txt
	touch $@

$(VENV)/supply/installed: requirements-supply.txt
	$(PYTHON) -m venv $(VENV)/supply
	$(VENV)/supply/bin/pip install --disable-pip-version-check -q -r requirements-supply.txt
	touch $@

.PHONY: install run quick test faults mutate supply bench report onnx check docs pictures app test-app examples
