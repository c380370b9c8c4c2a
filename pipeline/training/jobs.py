"""Jobs: scripts as processes, side by side, one GPU each where there are several."""

import os
import queue
import subprocess
import sys
from collections.abc import Callable, Iterable

import joblib

import crs_lib
from crs_lib import InputError
from pipeline.settings import command_line


def start(words: list[str], **options: object) -> subprocess.CompletedProcess:
    """Run the command of `command_line.words`, with this Python, from the user's own folder."""
    return subprocess.run(
        [sys.executable, str(crs_lib.HERE / words[1]), *words[2:]], check=False, **options
    )


def run_script(script: str, environment: dict[str, str] | None = None, **constants: object) -> None:
    """Run a script with these constants; its failure ends this one."""
    print(f"\n$ {command_line.command(script, **constants)}", flush=True)
    status = start(
        command_line.words(script, **constants), env={**os.environ, **(environment or {})}
    ).returncode
    if status:
        raise InputError(f"{script} ended with status {status}: its message stands above")


def side_by_side(
    work: Callable[[int, dict[str, str]], None], numbers: Iterable[int], nb_jobs: int, device: str
) -> None:
    """Call work(number, environment) for each number, so many at a time, until all are done.

    environment: variables for the processes that `work` starts; with several GPUs they say which
    one is theirs. device: the constant DEVICE.
    """
    free = environments(nb_jobs, device)

    def on_a_free_device(number: int) -> None:
        environment = free.get()
        try:
            work(number, environment)
        finally:
            free.put(environment)

    # Threads: the work is that of processes which they wait for.
    joblib.Parallel(n_jobs=nb_jobs, prefer="threads")(
        joblib.delayed(on_a_free_device)(number) for number in numbers
    )


def environments(nb_jobs: int, device: str) -> queue.Queue:
    """A queue of environments, one a job: its own GPU each where there are several."""
    free = queue.Queue()
    names = []
    if nb_jobs > 1 and device in ("auto", "cuda"):
        import torch  # two seconds that only this case needs

        usable = os.environ.get("CUDA_VISIBLE_DEVICES")
        count = torch.cuda.device_count()
        names = usable.split(",")[:count] if usable else list(map(str, range(count)))
    for job in range(nb_jobs):
        free.put({"CUDA_VISIBLE_DEVICES": names[job % len(names)]} if names else {})
    return free
