"""Time: now as text, a started timer, the time since then as days, hours, minutes, seconds."""

from datetime import datetime, timedelta


def now() -> str:
    """The local time as text that sorts and fits a folder name, e.g. `2026-03-14_15-09-26`."""
    return datetime.now().strftime("%Y-%m-%d_%H-%M-%S")


def start() -> datetime:
    """A started timer, to be handed to `seconds` and `elapsed`."""
    return datetime.now()


def seconds(timer: datetime) -> float:
    """Seconds since `timer` was started."""
    return (datetime.now() - timer).total_seconds()


def elapsed(timer: datetime) -> str:
    """Time since `timer` was started, e.g. `0 days 0 hours 12 minutes 5.3 seconds`."""
    return as_text(seconds(timer))


def as_text(nb_seconds: float) -> str:
    """A number of seconds as days, hours, minutes and seconds."""
    tenths = round(nb_seconds * 10)
    span = timedelta(seconds=tenths // 10)
    hours, rest = divmod(span.seconds, 3600)
    minutes, whole_seconds = divmod(rest, 60)
    return f"{span.days} days {hours} hours {minutes} minutes {whole_seconds}.{tenths % 10} seconds"
