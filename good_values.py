"""Good values of constants: what they are in words, and words of the command line read as them."""

import argparse
from collections.abc import Callable, Container
from typing import NamedTuple


class Between(NamedTuple):
    """The good values of a number that need not be whole: low <= value <= high."""

    low: float
    high: float

    def __contains__(self, value: object) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


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
    return str(good) if isinstance(good, Between) else ", ".join(str(v) or "empty" for v in good)


# The good values of the constants that several scripts share.
NETWORKS = ("asc", "isocc", "logmel")  # of networks.py
GOOD_VALUES = {
    "SAMPLE_RATE": range(2000, 48_001),
    "N_FFT": range(152, 8193, 4),  # from 77 bins on: the CNN halves four times
    "OVERSAMPLE": range(1, 1001),
    "MAX_SHIFT": Between(0, 12),
    "WRITE": ("all", "set", "test", "none"),
    "SET": range(1, 11),
    "SETS": range(1, 11),
    "TRAIN_ON": ("mixtures", "both"),
    "MODEL": NETWORKS,
    "COUNTER_MODEL": NETWORKS,
    "CLASSIFIER_MODEL": NETWORKS,
    "GAIN": Between(0, 40),
    "NAMES_WEIGHT": Between(0, 1000),
    "AVERAGE": Between(0, 1000),
    "EPOCHS": range(1, 100_001),
    "PATIENCE": range(1, 100_001),
    "BATCH": range(2, 4097),
    "LEARNING_RATE": Between(1e-8, 10),
    "SEED": range(0, 2**31),
    "N_JOBS": range(1, 257),
    "THREADS": range(0, 257),
}
