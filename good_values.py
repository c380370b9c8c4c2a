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
    return str(good) if isinstance(good, Between) else ", ".join(map(str, good))
