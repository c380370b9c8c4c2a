"""Which trained weights are taken, which are refused, and what is built of them."""

import json
from pathlib import Path

import pytest
import torch

import crs_lib
from crs_lib import InputError
from pipeline.evaluation import run_records
from pipeline.networks import heads, registry

CPU = torch.device("cpu")
STAMP = {"constants": {"DIVISION": "x"}, "input": {}}
CLASSES = ["a", "b", "c"]
RATE, N_FFT = 2000, 160  # other than the scripts' own


def write(folder, script, model, file_model=None, nb_outputs=2, **changed):
    """Weights as a finished training leaves them, of a network that was never trained."""
    folder.mkdir(exist_ok=True)
    torch.manual_seed(3)
    network = registry.build(model, nb_outputs, RATE, N_FFT, CPU)
    content = {
        "format": 2,
        "weights": network.state_dict(),
        "constants": {"SET": 3, "SAMPLE_RATE": RATE, "N_FFT": N_FFT, "MODEL": model},
        "data": {"esc10_mixes.csv": STAMP},
        "classes": CLASSES,
        "run": "run",
        "metrics": {"test": 1},
        "versions": {},
        "synthetic": False,
        "label_head": {},
    }
    content |= changed
    name = crs_lib.run_name(script, file_model or model, 3, RATE)
    torch.save(content, crs_lib.weights_path(str(folder), name))
    return content


@pytest.fixture
def root(tmp_path):
    """A root of real recordings, of which there is nothing but the table's stamp."""
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "esc10_mixes.csv.json").write_text(json.dumps(STAMP))
    return str(tmp_path / "root")


def load(tmp_path, script=crs_lib.COUNTER, model="asc", dataset="", **other):
    given = {"set_number": 3, "sample_rate": RATE, "device": CPU, **other}
    return registry.load_network(str(tmp_path / "models"), script, model, **given, dataset=dataset)


@pytest.mark.parametrize(
    ("script", "model", "file_model", "nb_outputs"),
    [
        (crs_lib.COUNTER, "asc", "asc", 2),
        (crs_lib.COUNTER, "logmel", "logmel", 2),
        (crs_lib.SINGLE, "asc", "asc", 3),
        (crs_lib.TWO_LABEL, "logmel", "logmel_both", 3),
    ],
)
def test_a_network_is_built_as_its_file_says(tmp_path, root, script, model, file_model, nb_outputs):
    content = write(tmp_path / "models", script, model, file_model, nb_outputs)
    for dataset in ("", root):
        network, found = load(tmp_path, script, file_model, dataset)
        assert not any(layer.training for layer in network.modules())
        assert type(network) is type(registry.build(model, 2, RATE, N_FFT, CPU))
        assert network.dense[-1].out_features == nb_outputs
        loaded = network.state_dict()
        assert loaded.keys() == content["weights"].keys()
        assert all(torch.equal(loaded[name], value) for name, value in content["weights"].items())
        assert found.keys() == content.keys()
        kept = found.keys() - {"weights", "constants"}
        assert all(found[name] == content[name] for name in kept)
        assert found["constants"] == {**run_records.LATER_CONSTANTS, **content["constants"]}


@pytest.mark.parametrize("by_labels", [False, True])
def test_a_counter_comes_with_the_label_head_that_it_learned(tmp_path, by_labels):
    network = registry.build("asc", 2 + 3, RATE, N_FFT, CPU).eval()
    if by_labels:
        heads.count_by_labels(network)
    spectrograms = torch.rand(2, 1, N_FFT // 2 + 1, 1 + 5 * RATE // (N_FFT // 4))
    expected = network(spectrograms)
    label_head = heads.cut_label_head(network)
    content = write(tmp_path / "models", crs_lib.COUNTER, "asc", weights=network.state_dict())
    content |= {"label_head": label_head}
    content["constants"]["COUNT_BY_LABELS"] = by_labels
    torch.save(content, next((tmp_path / "models").iterdir()))
    torch.testing.assert_close(load(tmp_path)[0](spectrograms), expected)


CONSTANTS = {"SET": 3, "SAMPLE_RATE": RATE, "N_FFT": N_FFT, "MODEL": "asc"}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"SET": 4}, "holds weights of set 4 at 2000 Hz, not of set 3 at 2000 Hz"),
        ({"SAMPLE_RATE": 4000}, "holds weights of set 3 at 4000 Hz, not of set 3 at 2000 Hz"),
        ({"SET": 11}, "its SET is 11: good values are 1 to 10"),
        ({"SAMPLE_RATE": 100}, "its SAMPLE_RATE is 100: good values are 2000 to 48000"),
        ({"N_FFT": 150}, "its N_FFT is 150: good values are 152 to 8192 in steps of 4"),
        ({"MODEL": "cnn"}, "its network cnn is none of this version"),
        ({"MODEL": "logmel"}, r"the weights do not fit the network \("),
        ({"N_FFT": 256}, r"the weights do not fit the network \("),
    ],
)
def test_weights_of_something_else_are_refused(tmp_path, changed, reason):
    write(tmp_path / "models", crs_lib.COUNTER, "asc", constants={**CONSTANTS, **changed})
    with pytest.raises(InputError, match=rf"_asc_set3_2k\.pt: {reason}"):
        load(tmp_path)


@pytest.mark.parametrize("odd", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("which", [0, -1])
def test_one_number_that_is_none_is_enough(tmp_path, odd, which):
    """In the first or the last weights of all, behind good ones."""
    content = write(tmp_path / "models", crs_lib.COUNTER, "asc")
    list(content["weights"].values())[which].view(-1)[-1] = odd
    write(tmp_path / "models", crs_lib.COUNTER, "asc", weights=content["weights"])
    with pytest.raises(InputError, match=r"set3_2k\.pt: some of the weights are no finite"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("synthetic", "held", "kind"),
    [(True, False, "the synthetic set"), (False, True, "real recordings")],
)
def test_weights_of_synthetic_sounds_are_not_tested_on_real_ones(
    tmp_path, root, synthetic, held, kind
):
    write(tmp_path / "models", crs_lib.COUNTER, "asc", synthetic=synthetic)
    if held:
        Path(root, "SYNTHETIC").touch()
    with pytest.raises(InputError, match=rf"2k\.pt: trained on {kind}, which {root} does not hold"):
        load(tmp_path, dataset=root)
    load(tmp_path)  # where nothing is tested, nothing is compared
    write(tmp_path / "models", crs_lib.COUNTER, "asc", synthetic=held)
    load(tmp_path, dataset=root)


@pytest.mark.parametrize(
    "data", [{}, {"esc10_mixes.csv": None}, {"esc10_mixes.csv": {**STAMP, "input": {"a": 1}}}]
)
@pytest.mark.parametrize("file_model", ["asc", "asc_both"])
def test_weights_of_another_division_are_refused_and_trained_anew(tmp_path, root, data, file_model):
    write(tmp_path / "models", crs_lib.TWO_LABEL, "asc", file_model, 3, data=data)
    load(tmp_path, crs_lib.TWO_LABEL, file_model)
    with pytest.raises(InputError) as error:
        load(tmp_path, crs_lib.TWO_LABEL, file_model, root)
    assert "trained on other recordings or under another division than" in str(error.value)
    command = str(error.value).split("run  ")[1]
    assert command.startswith(f"python {crs_lib.TWO_LABEL}.py --")
    words = ["--dataset " + root, f"--models {tmp_path}/models", "--set 3", "--sample-rate 2000"]
    assert all(word in command for word in [*words, "--model asc"])
    assert "_both" not in command and ("--train-on both" in command) == (file_model != "asc")


def test_a_file_that_is_missing_is_asked_for_by_all_that_names_it(tmp_path):
    with pytest.raises(InputError) as error:
        load(tmp_path, crs_lib.SINGLE, "isocc", set_number=7)
    place = f"{tmp_path}/models"
    assert f"{place}/{crs_lib.SINGLE}_isocc_set7_2k.pt is missing" in str(error.value)
    command = str(error.value).split("run  ")[1]
    for word in (f"--models {place}", "--set 7", "--sample-rate 2000"):
        assert word in command
    assert "--dataset" not in command  # none is named, so the usual one


def test_nobody_is_told_to_train_into_the_shipped_weights_folder(tmp_path):
    shipped = tmp_path / crs_lib.PRETRAINED
    shipped.mkdir()
    where = (crs_lib.COUNTER, "asc", 3, RATE, CPU)
    with pytest.raises(InputError, match=r"_asc_set3_2k\.pt, but nothing: leave out the flags"):
        registry.load_network(str(shipped), *where)
    (shipped / "y.pt").touch()
    (shipped / "x.pt").touch()
    with pytest.raises(InputError, match=r"_asc_set3_2k\.pt, but x\.pt, y\.pt: leave out"):
        registry.load_network(str(shipped), *where)
    write(shipped, crs_lib.COUNTER, "asc")
    assert registry.load_network(str(shipped), *where)[1]["run"] == "run"


TASKS = {"names": (crs_lib.SINGLE, "asc"), "counter": (crs_lib.COUNTER, "logmel")}


def load_both(tmp_path, dataset=""):
    return registry.load_networks(TASKS, str(tmp_path / "models"), 3, RATE, CPU, dataset)


def test_networks_that_answer_together_are_each_their_tasks_own(tmp_path, root):
    write(tmp_path / "models", crs_lib.SINGLE, "asc", nb_outputs=3, run="of names")
    write(tmp_path / "models", crs_lib.COUNTER, "logmel", run="of the count")
    found = load_both(tmp_path, root)
    told = {task: (type(net).__name__, content["run"]) for task, (net, content) in found.items()}
    assert told == {"names": ("ASC", "of names"), "counter": ("LogMel", "of the count")}
    Path(root, "esc10_mixes.csv.json").unlink()
    with pytest.raises(InputError, match="another division"):
        load_both(tmp_path, root)


@pytest.mark.parametrize(
    "changed", [{"classes": ["a", "c", "b"]}, {"classes": ["a", "b"]}, {"synthetic": True}]
)
def test_networks_of_other_classes_or_of_synthetic_sounds_do_not_answer_together(tmp_path, changed):
    """Also where the classes are the same, but in another order."""
    write(tmp_path / "models", crs_lib.SINGLE, "asc", nb_outputs=3)
    write(tmp_path / "models", crs_lib.COUNTER, "logmel", **changed)
    with pytest.raises(InputError, match="models: the weights were trained on different classes"):
        load_both(tmp_path)
