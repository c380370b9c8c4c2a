"""Which of the trained networks in a folder are to classify a recording."""

import re
from pathlib import Path

import pandas as pd
import torch
from torch import nn

import crs_lib
from crs_lib import InputError
from pipeline.networks import registry
from pipeline.settings import command_line

# Task of a network that labels a recording -> the script that trains it.
SCRIPT_OF = {"counter": crs_lib.COUNTER, "single": crs_lib.SINGLE, "two_label": crs_lib.TWO_LABEL}


def load(
    models: str,
    set_number: int,
    sample_rate: int,
    counter_model: str,
    classifier_model: str,
    device: torch.device,
) -> dict[str, tuple[nn.Module, dict]]:
    """The networks that label a recording, `counter`, `single` and `two_label`, as
    registry.load_networks; a counter that learned the labels, where there are no classifiers of
    that set and rate, is all three of them.

    What is 0 or empty is that of the weights in the folder.
    Raises InputError as load_networks does, or if the folder holds no weights at all, or leaves a
    choice, naming its flag.
    """
    models = str(crs_lib.weights_dir(models))
    there = pd.DataFrame(
        [(task, *kind) for task, script in SCRIPT_OF.items() for kind in kinds_of(models, script)],
        columns=["task", "model", "SET", "SAMPLE_RATE"],
    )
    if there.empty:
        train = command_line.command("run_all.py", MODELS=models)
        raise InputError(
            f"{models} holds no weights: run  {train}  first, or name the folder of those that "
            f"come with the project, --models {crs_lib.PRETRAINED}"
        )

    for name, given in (("SET", set_number), ("SAMPLE_RATE", sample_rate)):
        there = there[(there[name] == given) | (given == 0)]

    def only(name: str, given: object, found: pd.Series, usual: object) -> object:
        found = sorted(found.unique().tolist())
        if given or not found:
            return given or usual
        if name == "SET" and crs_lib.ALL_CLIPS in found:
            return crs_lib.ALL_CLIPS  # what heard most
        if len(found) > 1:
            choice = f"{command_line.flag_of(name)} {' or '.join(map(str, found))}"
            raise InputError(f"{models} holds several weights: choose with  {choice}")
        return found[0]

    set_number = only("SET", set_number, there["SET"], 1)
    there = there[there["SET"] == set_number]
    sample_rate = only("SAMPLE_RATE", sample_rate, there["SAMPLE_RATE"], 4000)
    there = there[there["SAMPLE_RATE"] == sample_rate]
    is_counter = there["task"] == "counter"
    counters, classifiers = there["model"][is_counter], there["model"][~is_counter]
    counter_model = only("COUNTER_MODEL", counter_model, counters, "asc")
    if counter_model in set(counters) and classifiers.empty and not classifier_model:
        place = (models, crs_lib.COUNTER, counter_model, set_number, sample_rate, device)
        network, content = registry.load_network(*place)
        if content["label_head"]:
            return dict.fromkeys(SCRIPT_OF, (network, content))
    classifier_model = only("CLASSIFIER_MODEL", classifier_model, classifiers, "isocc")
    model_of = {"counter": counter_model, "single": classifier_model, "two_label": classifier_model}
    tasks = {task: (script, model_of[task]) for task, script in SCRIPT_OF.items()}
    return registry.load_networks(tasks, models, set_number, sample_rate, device)


def kinds_of(models: str, script: str) -> list[tuple[str, int, int]]:
    """The weights that a script's trainings left in a folder: model, set, sample rate (Hz).

    No-counter baselines are left out.
    """
    name = re.compile(rf"{script}_(\w+)_(?:set(\d+)|all)_(\d+(?:\.\d+)?)k\.pt")
    found = filter(None, (name.fullmatch(path.name) for path in Path(models).glob("*.pt")))
    kinds = [
        (model, int(number or crs_lib.ALL_CLIPS), round(1000 * float(rate)))
        for model, number, rate in (word.groups() for word in found)
    ]
    return [kind for kind in kinds if not kind[0].endswith(crs_lib.BOTH)]
