# The commands of the project; `make help` lists them.

PYTHON ?= python3
VENV = .venv
RUN = $(VENV)/bin/python
.DEFAULT_GOAL = help

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/installed  ## .venv and what requirements.txt lists, alone

run: $(VENV)/installed  ## everything for set 1: prepare, train, test, summary (20 to 50 minutes on 2 CPU cores)
	$(RUN) run_all.py

# The best configuration of docs/trials.md: a pre-trained encoder, a joint network.
BEST = --sample-rate 16000 --n-fft 1024 --oversample 1 --repeat 5 --count-by-labels --frozen 6 \
	--speed 0.27 --tilt 3 --noise --epochs 20 --patience 20 --batch 32 \
	--learning-rate 0.001

best: $(VENV)/installed  ## the same with the pre-trained encoder, the best networks (under 40 minutes)
	$(RUN) run_all.py $(BEST) --counter-model yamnet --classifier-model yamnet --shared \
		--write none --n-jobs 2 $(FLAGS)

quick: $(VENV)/installed  ## the same with tiny settings, into results_quick/ and models_quick/ (3 minutes)
	$(RUN) run_all.py --epochs 1 --oversample 1 --results results_quick --models models_quick $(FLAGS)
	@echo "make quick shows that everything runs: after one epoch no network knows anything"

test: $(VENV)/installed  ## every test (7 minutes); ESC50_DIR=... adds those on the real recordings
	$(RUN) -m pytest -q

faults: $(VENV)/installed  ## every script killed, every disk filled at many more moments (under an hour)
	$(RUN) -m pytest -q -m faults
	$(RUN) -m pytest -q -m hypothesis --hypothesis-profile long

mutate: $(VENV)/installed-mutate  ## change the code and see whether the tests notice; MODULES="metrics timeline" for some
	$(RUN) tools/mutate.py $(MODULES)

supply: $(VENV)/installed $(VENV)/supply/installed  ## known findings of the packages that requirements.txt brings in
	$(VENV)/supply/bin/python .ci/supply.py $(VENV)/lib/python*/site-packages \
		requirements/app.txt requirements/mutate.txt requirements/onnx.txt

BENCHMARKS = mixing pitch table downsampling stft train_data train_epoch train_network prepare \
	label growth

bench: $(VENV)/installed  ## every benchmark, into benchmarks/results/ (10 minutes)
	for name in $(BENCHMARKS); do $(RUN) benchmarks/$$name.py || exit 1; done
	$(RUN) benchmarks/show_all.py

THRESHOLD = 0.5
ship: $(VENV)/installed  ## after make best: train on all clips and make pretrained/ (half an hour)
	$(RUN) audio_source_counter.py $(BEST) --model yamnet --all-clips --threshold $(THRESHOLD)
	$(RUN) tools/ship.py $(FLAGS)

report: $(VENV)/installed  ## the results as one page, results/report.html
	$(RUN) show_report.py

onnx: $(VENV)/installed-onnx  ## the trained networks as ONNX files, into exported/
	$(RUN) export_onnx.py

check: $(VENV)/installed  ## style: ruff
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

docs: $(VENV)/installed  ## the tables of the README and of docs/, from the files in results_published/
	$(RUN) tools/tables.py
	$(RUN) tools/draw_results.py
	$(RUN) tools/fill_pages.py

pictures: $(VENV)/installed  ## the pictures of docs/, from the recordings that make run prepared
	$(RUN) tools/draw_data.py

app: $(VENV)/installed-app  ## the web page in a browser; installs requirements/app.txt
	$(RUN) app.py

test-app: $(VENV)/installed-app  ## the web page and the results page in a real browser (needs chromium)
	$(RUN) -m pytest -q -n 0 tests/app

examples: $(VENV)/installed-app  ## what predict.py and the web page show, with the shipped weights, for the pages
	$(RUN) tools/label_example.py
	APP_PICTURE=docs/app.png $(RUN) -m pytest -q -n 0 tests/app -k picture_for_the_readme

$(VENV)/installed-app: requirements/app.txt $(VENV)/installed
	$(VENV)/bin/pip install --disable-pip-version-check -q -r requirements/app.txt
	touch $@

$(VENV)/installed: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --disable-pip-version-check -q -r requirements.txt
	touch $@

$(VENV)/installed-onnx: requirements/onnx.txt $(VENV)/installed
	$(VENV)/bin/pip install --disable-pip-version-check -q -r requirements/onnx.txt
	touch $@

$(VENV)/installed-mutate: requirements/mutate.txt $(VENV)/installed
	$(VENV)/bin/pip install --disable-pip-version-check -q -r requirements/mutate.txt
	touch $@

$(VENV)/supply/installed: requirements/supply.txt
	$(PYTHON) -m venv $(VENV)/supply
	$(VENV)/supply/bin/pip install --disable-pip-version-check -q -r requirements/supply.txt
	touch $@

.PHONY: help install run best quick test faults mutate supply bench ship report onnx check docs pictures app test-app examples
