"""Which weights of a folder label a recording: those that are there, or those that were asked for.

The files are empty: it is their names that tell.
"""

import pytest
import torch

import crs_lib
from crs_lib import InputError
from pipeline.inference import choose_weights
from pipeline.networks import registry

CPU = torch.device("cpu")
COUNTER, SINGLE, TWO = crs_lib.COUNTER, crs_lib.SINGLE, crs_lib.TWO_LABEL
SCRIPTS = (COUNTER, SINGLE, TWO)
NOTHING = (0, 0, "", "")  # asked for: set, rate, counter's network, classifiers'


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    """What registry.load_networks is asked for, in a folder of these files."""
    monkeypatch.setattr(registry, "load_networks", lambda *given: given)

    def load(names, *asked):
        for name in names:
            (tmp_path / f"{name}.pt").touch()
        tasks, models, set_number, sample_rate, device = choose_weights.load(
            str(tmp_path), *(asked or NOTHING), CPU
        )
        assert models == str(tmp_path) and device is CPU
        assert {task: script for task, (script, _) in tasks.items()} == {
            "counter": COUNTER,
            "single": SINGLE,
            "two_label": TWO,
        }
        models_of = [tasks[task][1] for task in ("counter", "single", "two_label")]
        assert models_of[1] == models_of[2]
        return set_number, sample_rate, *models_of[:2]

    return load


def test_kinds_are_read_off_the_names(tmp_path):
    names = [f"{COUNTER}_asc_set1_4k.pt", f"{COUNTER}_logmel_set10_22.05k.pt"]
    names += [
        f"{TWO}_isocc_set3_8k.pt",
        f"{TWO}_isocc_both_set3_8k.pt",
        f"{TWO}_asc_both_set1_4k.pt",
    ]
    names += [f"{COUNTER}_yamnet_all_16k.pt", f"{COUNTER}_asc_all2_4k.pt"]
    names += [f"{COUNTER}_asc_set2_1.2.3k.pt", f"x{COUNTER}_asc_set2_4k.pt", f"{COUNTER}_asc_4k.pt"]
    names += [
        f"{COUNTER}_asc_set4_4k.pt.part",
        f"{COUNTER}_asc_set5_4kXpt",
        f"{SINGLE}_asc_set1_k.pt",
    ]
    for name in names:
        (tmp_path / name).touch()
    kinds = {
        script: sorted(choose_weights.kinds_of(str(tmp_path), script)) for script in (COUNTER, TWO)
    }
    assert kinds == {
        COUNTER: [("asc", 1, 4000), ("logmel", 10, 22_050), ("yamnet", 0, 16_000)],
        TWO: [("isocc", 3, 8000)],
    }
    assert choose_weights.kinds_of(str(tmp_path), SINGLE) == []


def test_the_only_weights_are_taken_whatever_they_are(loaded):
    names = [f"{COUNTER}_logmel_set7_22.05k", f"{SINGLE}_asc_set7_22.05k", f"{TWO}_asc_set7_22.05k"]
    names += [f"{TWO}_isocc_both_set3_8k"]  # of none that labels
    assert loaded(names) == (7, 22_050, "logmel", "asc")


def test_weights_of_all_clips_go_before_those_of_a_set(loaded):
    names = [
        f"{script}_yamnet_{clips}_16k"
        for clips in ("all", "set2")
        for script in (COUNTER, SINGLE, TWO)
    ]
    assert loaded(names) == (crs_lib.ALL_CLIPS, 16_000, "yamnet", "yamnet")
    assert loaded([], 2, 0, "", "") == (2, 16_000, "yamnet", "yamnet")
    # Whatever rates there are beside them.
    others = [f"{script}_asc_set1_4k" for script in (COUNTER, SINGLE, TWO)]
    assert loaded(others) == (crs_lib.ALL_CLIPS, 16_000, "yamnet", "yamnet")


@pytest.mark.parametrize("label_head", [{}, {"bias": 1}])
def test_a_counter_that_knows_labels_needs_no_classifiers(
    tmp_path, monkeypatch, loaded, label_head
):
    """But classifiers that are there, or asked for, are taken."""
    content, asked = {"label_head": label_head}, []
    monkeypatch.setattr(
        registry, "load_network", lambda *given: asked.append(given) or ("whole", content)
    )
    (tmp_path / f"{COUNTER}_yamnet_all_16k.pt").touch()
    (tmp_path / f"{SINGLE}_asc_set2_16k.pt").touch()
    if label_head:
        found = choose_weights.load(str(tmp_path), *NOTHING, CPU)
        assert found == dict.fromkeys(["counter", "single", "two_label"], ("whole", content))
    else:
        assert loaded([]) == (crs_lib.ALL_CLIPS, 16_000, "yamnet", "isocc")
    assert asked == [(str(tmp_path), COUNTER, "yamnet", crs_lib.ALL_CLIPS, 16_000, CPU)]
    assert loaded([], 0, 0, "", "asc") == (crs_lib.ALL_CLIPS, 16_000, "yamnet", "asc")
    assert loaded([f"{TWO}_yamnet_all_16k"]) == (crs_lib.ALL_CLIPS, 16_000, "yamnet", "yamnet")
    assert len(asked) == 1


def test_what_is_asked_for_is_taken_though_it_be_missing(loaded):
    """The loader then names the file."""
    names = [f"{COUNTER}_asc_set2_4k", f"{SINGLE}_isocc_set2_4k", f"{TWO}_isocc_set2_4k"]
    assert loaded(names, 3, 0, "", "") == (3, 4000, "asc", "isocc")
    assert loaded(names, 0, 8000, "", "") == (1, 8000, "asc", "isocc")
    assert loaded(names, 0, 0, "logmel", "") == (2, 4000, "logmel", "isocc")
    assert loaded(names, 0, 0, "", "logmel") == (2, 4000, "asc", "logmel")
    assert loaded(names, 2, 4000, "isocc", "asc") == (2, 4000, "isocc", "asc")


def test_a_missing_part_is_of_the_usual_network(loaded):
    assert loaded([f"{SINGLE}_logmel_set2_8k"]) == (2, 8000, "asc", "logmel")


def test_a_missing_classifier_is_of_the_usual_network(loaded, monkeypatch):
    """Of a counter that learned no labels."""
    monkeypatch.setattr(registry, "load_network", lambda *given: (None, {"label_head": {}}))
    assert loaded([f"{COUNTER}_logmel_set2_8k"]) == (2, 8000, "logmel", "isocc")


def test_of_several_what_is_asked_for_leaves_one(loaded):
    """Sets at rates of their own; of the two of one set and rate the network chooses."""
    names = [f"{COUNTER}_asc_set1_4k", f"{COUNTER}_isocc_set2_8k", f"{COUNTER}_logmel_set2_16k"]
    names += [f"{script}_isocc_set1_4k" for script in (SINGLE, TWO)]
    names += [f"{script}_asc_set2_8k" for script in (SINGLE, TWO)]
    names += [f"{script}_logmel_set2_16k" for script in (SINGLE, TWO)]
    assert loaded(names, 1, 0, "", "") == (1, 4000, "asc", "isocc")
    assert loaded(names, 0, 8000, "", "") == (2, 8000, "isocc", "asc")
    assert loaded(names, 2, 16_000, "", "") == (2, 16_000, "logmel", "logmel")
    with pytest.raises(InputError, match=r"several weights: choose with  --set 1 or 2$"):
        loaded([])
    with pytest.raises(InputError, match=r"choose with  --sample-rate 8000 or 16000$"):
        loaded([], 2, 0, "", "")
    loaded_more = [f"{COUNTER}_asc_set2_8k", f"{SINGLE}_isocc_set2_8k"]
    with pytest.raises(InputError, match=r"choose with  --counter-model asc or isocc$"):
        loaded(loaded_more, 2, 8000, "", "")
    with pytest.raises(InputError, match=r"choose with  --classifier-model asc or isocc$"):
        loaded([], 2, 8000, "asc", "")
    assert loaded([], 2, 8000, "asc", "isocc") == (2, 8000, "asc", "isocc")


def test_a_folder_without_such_weights_is_named(loaded, tmp_path):
    message = f"{tmp_path} holds no weights: run  python run_all.py --models {tmp_path}  first"
    with pytest.raises(InputError, match=f"^{message}, or name .* --models pretrained$"):
        loaded([f"{TWO}_isocc_both_set3_8k"])
