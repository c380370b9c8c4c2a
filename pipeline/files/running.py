"""Running a script: an error that a user can mend becomes one line; locks end with the script."""

import errno
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack

import crs_lib

AT_END = ExitStack()  # what is undone when the script that runs has ended


def run(
    main: Callable[[], int | None],
    dataset: str = "",
    synthetic: Callable[[], bool] = lambda: False,
) -> None:
    """Run a script's main(); what a user can mend becomes one line on standard error, status 1.

    dataset: the root of the prepared data; where it is synthetic (or `synthetic` says that it
    will be) the first and the last line of output say so.
    """
    sys.stdout.reconfigure(errors="backslashreplace")  # a path may have what a terminal has not
    try:
        with AT_END:
            if synthetic() or (dataset and crs_lib.is_synthetic(dataset)):
                say_synthetic(dataset)
            status = main()
            if dataset and crs_lib.is_synthetic(dataset):
                say_synthetic(dataset)
    except crs_lib.InputError as error:
        print(error, file=sys.stderr)
        status = 1
    except BrokenPipeError:  # who reads the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = ": make room there and run it again" if full else ""
        where = error.filename2 or error.filename or "a file"  # of a copy: what was written
        print(f"{where}: {error.strerror or error}{advice}", file=sys.stderr)
        status = 1
    except (MemoryError, RuntimeError) as error:
        text = " ".join(str(error).split())
        if not isinstance(error, MemoryError) and "memory" not in text:
            raise
        print(f"out of memory ({text[:100]}): try smaller constants, --batch say", file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        status = 130
    sys.exit(status)


def say_synthetic(dataset: str) -> None:
    """Print the line that keeps synthetic results from being taken for real ones."""
    print(f"SYNTHETIC: {dataset} holds the synthetic set, not real recordings", flush=True)
