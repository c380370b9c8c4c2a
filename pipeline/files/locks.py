"""Locks: who makes an output holds its lock, so that a second one stops and says who that is.

A lock is the system's own, on the open file `<output>.lock`. It ends with its process, however
that ends: the file that a killed one left locks nothing. The file says who holds the lock, and goes
with it.
"""

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from filelock import lock_descriptor

import crs_lib
import tmr
from crs_lib import InputError
from pipeline.files import running

PATIENCE_SECONDS = 1.0  # for somebody who only looks whether it is held
T = TypeVar("T")
TEXT_AT = 1  # where the file's text begins: Windows lets nobody else read the locked byte 0


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock of an output; nobody else makes it meanwhile.

    Raises InputError, naming the holder, if another process holds it.
    """
    lock = lock_of(path)
    lock.parent.mkdir(parents=True, exist_ok=True)
    file = patiently(lambda: taken(lock), path)
    try:
        with crs_lib.located(lock):
            os.ftruncate(file, 0)
            os.write(file, b" " * TEXT_AT + who().encode())
        yield
    finally:
        with suppress(OSError):  # Windows keeps a file that is open
            lock.unlink()
        os.close(file)


def hold(path: Path) -> None:
    """Hold the lock of an output until the script ends. Raises InputError as `held` does."""
    running.AT_END.enter_context(held(path))


def new_folder(folder: Path) -> bool:
    """Make a folder that is not there yet; False if it is. Of two that ask at once one makes it.

    If nothing lies in it when the script ends, it goes again.
    """
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        return False
    running.AT_END.callback(remove_if_empty, folder)
    return True


def remove_if_empty(folder: Path) -> None:
    """Remove a folder with nothing in it."""
    with suppress(OSError):
        folder.rmdir()


def refuse_held(path: Path) -> None:
    """Raise InputError, naming the holder, if another process is making an output right now."""

    def is_free() -> bool | None:
        try:
            file = os.open(lock_of(path), os.O_RDWR)
        except OSError:  # no lock, or a place where only others may write
            return True
        try:  # to look is to hold it for a moment: so may somebody else who looks
            return lock_descriptor(file, blocking=False) or None
        finally:
            os.close(file)

    patiently(is_free, path)


def patiently(attempt: Callable[[], T | None], path: Path) -> T:
    """What an attempt gives, tried again for PATIENCE_SECONDS while it gives None.

    Raises InputError, naming the holder of the output's lock, if it gives nothing else.
    """
    patient_until = time.monotonic() + PATIENCE_SECONDS
    while (found := attempt()) is None:
        if time.monotonic() > patient_until:
            raise InputError(refusal(path))
        time.sleep(0.02)
    return found


def lock_of(path: Path) -> Path:
    """The lock file of an output, beside it."""
    return path.with_name(path.name + ".lock")


def taken(lock: Path) -> int | None:
    """The descriptor of a lock file that is now locked; None if another process has locked it."""
    while True:
        file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        if not lock_descriptor(file, blocking=False):
            os.close(file)
            return None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), os.stat(lock)):
                return file
        os.close(file)  # its holder removed it after it was opened here: it locks nothing any more


def refusal(path: Path) -> str:
    """What somebody is told who finds an output's lock held."""
    try:
        holder = lock_of(path).read_bytes()[TEXT_AT:].decode() or "another process"
    except OSError:
        holder = "another process"
    return f"{path} is being made by {holder}: wait for it, or end it"


def who() -> str:
    """This process, as another one is told of it."""
    script = Path(sys.argv[0]).name
    return f"{script} (process {os.getpid()} on {socket.gethostname()}, since {tmr.now()})"
