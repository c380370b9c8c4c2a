"""Good values of constants: what they are in words, and words of the command line read as them."""

import argparse
from collections.abc import Callable, Container
from typing import NamedTuple


class Between(NamedTuple):
    """The good values of a number that need not be whole: low <= value <= high."""

    low: float
    high: float

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


class Text(NamedTuple):
    """The good values of a text: those of `least` characters or more."""

    least: int

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str) and len(value.strip()) >= self.least

    def __str__(self) -> str:
        return "texts" if self.least == 0 else "texts that are not empty"


def kind_of(value: object, good: Container | None) -> type:
    """The type of a constant (of what a list holds), whose value in the script is `value`."""
    if isinstance(good, Between):
        return float  # also where a whole number stands in the script
    return type(value[0]) if isinstance(value, list) and value else type(value)


def why_bad(name: str, value: object, good: Container | None) -> str:
    """Why a constant's value (each of a list's) is no good one; empty where it is one.

    good: the good values, None where any will do.
    """
    if value == [] or (good and isinstance(value, list) != (name in LISTS)):
        return f"{value}: {'a list of one or more' if name in LISTS else 'one value'} is wanted"
    for item in value if isinstance(value, list) else [value]:
        if good and not is_good(item, good):
            return f"{item}: good values are {as_text(good)}"
    return ""


def is_good(value: object, good: Container) -> bool:
    """Whether a value is a good one, and of the same type: neither 1.0 nor True is 1."""
    if isinstance(good, Between | Text):
        return value in good
    return type(value) is type(good[0]) and value in good


def reader(kind: type, good: Container | None) -> Callable[[str], object]:
    """What turns a word of the command line into a value of this type."""

    def read(word: str) -> object:
        try:
            return kind(word)
        except ValueError:
            wanted = f"good values are {as_text(good)}" if good else f"no {kind.__name__}"
            raise argparse.ArgumentTypeError(f"{word}: {wanted}") from None

    return read


def as_text(good: Container) -> str:
    """Good values in words."""
    if isinstance(good, range):
        steps = f" in steps of {good.step}" if good.step > 1 else ""
        return f"{good[0]} to {good[-1]}{steps}"
    if isinstance(good, Between | Text):
        return str(good)
    return ", ".join(str(value) or "empty" for value in good)


# The good values of the constants that several scripts share.
SETS = range(1, 11)  # of division
NETWORKS = ("asc", "isocc", "logmel", "yamnet")  # of pipeline/networks/registry.py
LISTS = ("SETS", "RECORDINGS")  # constants that hold several values
ANY_TEXT, SOME_TEXT, SWITCH = Text(0), Text(1), (False, True)
GOOD_VALUES = {
    "DATASET": SOME_TEXT,
    "DIVISION_DIR": ANY_TEXT,
    "ESC50_DIR": ANY_TEXT,
    "RESULTS": SOME_TEXT,
    "MODELS": SOME_TEXT,
    "DEVICE": SOME_TEXT,
    "RECORDINGS": SOME_TEXT,
    "SAMPLE_RATE": range(2000, 48_001),
    "N_FFT": range(152, 8193, 4),  # from 77 bins on: the CNN halves four times
    "OVERSAMPLE": range(1, 1001),
    "REPEAT": range(1, 1001),
    "MAX_SHIFT": Between(0, 12),
    "WRITE": ("all", "set", "test", "none"),
    "SET": SETS,
    "SETS": SETS,
    "TRAIN_ON": ("mixtures", "both"),
    "IN_BF16": ("auto", "none", "classifiers", "all"),
    "MODEL": NETWORKS,
    "COUNTER_MODEL": NETWORKS,
    "CLASSIFIER_MODEL": NETWORKS,
    "GAIN": Between(0, 40),
    "SPEED": Between(0, 1),
    "LABELS_WEIGHT": Between(0, 1000),
    "THRESHOLD": Between(0, 1),
    "AVERAGE": Between(0, 1000),
    "ENCODER_RATE": Between(0, 1),
    "LAYER_DECAY": Between(0.01, 1),
    "FROZEN": range(0, 15),
    "KEEP": Between(0, 1),
    "TILT": Between(0, 40),
    "EPOCHS": range(1, 100_001),
    "PATIENCE": range(1, 100_001),
    "BATCH": range(2, 4097),
    "LEARNING_RATE": Between(1e-8, 10),
    "SEED": range(0, 2**31),
    "N_JOBS": range(1, 257),
    "THREADS": range(0, 257),
    "OUT": SOME_TEXT,
    "EXPORTED": SOME_TEXT,
    "TARGET": SOME_TEXT,
    "ATTRIBUTION": ANY_TEXT,
    "COMMIT": SOME_TEXT,
    "URL": SOME_TEXT,
    "SHA256": ANY_TEXT,
    "ALL_CLIPS": SWITCH,
    "BF16": SWITCH,
    "CSV": SWITCH,
    "BOTH_KINDS": SWITCH,
    "COUNT_BY_LABELS": SWITCH,
    "JSON": SWITCH,
    "LABELS": SWITCH,
    "MASK": SWITCH,
    "NOISE": SWITCH,
    "PLOT": SWITCH,
    "REDO": SWITCH,
    "REDRAW": SWITCH,
    "RESUME": SWITCH,
    "ROLL": SWITCH,
    "SHARED": SWITCH,
    "SUMMARY": SWITCH,
    "SYNTHETIC": SWITCH,
    "TEST_UNSELECTED": SWITCH,
}
# Of constants that 0, or an empty text, leaves to the weights that lie in a folder.
FROM_WEIGHTS = {
    "SET": range(0, GOOD_VALUES["SET"].stop),
    "SAMPLE_RATE": range(0, 48_001),
    "COUNTER_MODEL": (*GOOD_VALUES["COUNTER_MODEL"], ""),
    "CLASSIFIER_MODEL": (*GOOD_VALUES["CLASSIFIER_MODEL"], ""),
}
