"""Starts an experiment as several processes on this machine and ends them together.

    python -m experiments.launch --processes=4 -- experiments.classification --cpu_devices=2 ...
    python -m experiments.launch --processes=2 --restarts=3 -- experiments.segmentation ...

For development, and for one machine with several GPUs, which are divided among the processes.
--cpu_devices is per process. Their output is printed line by line, each line with the index of its
process in front. If one fails, the others are ended too, and the exit status is that of the first
to fail. SIGTERM, SIGHUP and Ctrl-C are passed on: the run saves its state and ends.
"""

import contextlib
import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from absl import app, flags

from cnn_jax.train import hosts, signals
from experiments import console, flag_help

PROCESSES = flags.DEFINE_integer("processes", 2, "Number of processes.", lower_bound=1)
RESTARTS = flags.DEFINE_integer(
    "restarts", 0, "Number of times to restart all after a process was killed.", lower_bound=0
)
GRACE = flags.DEFINE_float(
    "grace", 30.0, "Seconds from SIGTERM to SIGKILL of a process.", lower_bound=0
)

POLL = 0.05  # seconds
LINGER = 5.0  # seconds for a process to end once its connections are closed


def main(argv: list[str]) -> int:
    command = argv[1:]
    if not command:
        raise app.UsageError(
            "No experiment is given: python -m experiments.launch --processes=4 -- "
            "experiments.classification --flags"
        )
    with _passed_on() as asked:
        for attempt in range(RESTARTS.value + 1):
            status = run_once(command, PROCESSES.value, grace=GRACE.value, asked=asked)
            if asked or not worth_another(status):
                break
            if attempt < RESTARTS.value:
                say(f"starting all again, {attempt + 1} of {RESTARTS.value}")
    return status


def worth_another(status: int) -> bool:
    """Whether the same command may succeed next time: a process was killed, or lost another one.

    0 is success; 1 and 2 are errors that a process has explained and that would occur again.
    """
    return status not in (0, 1, 2)


def run_once(
    command: Sequence[str], processes: int, *, grace: float, asked: Sequence[int] = ()
) -> int:
    """Starts the processes, waits for all of them, and returns the status of the first to fail.

    Args:
        command: a module and its flags.
        processes: number of processes.
        grace: seconds from SIGTERM to SIGKILL.
        asked: signals to pass on; it grows while this waits.

    Returns:
        An exit status as in shells: 128 + the signal for a process that was killed; 0 if none
        failed.
    """
    port = free_port()
    started = [
        _start(command, processes, index, port, gpus)
        for index, gpus in enumerate(share_gpus(visible_gpus(), processes))
    ]
    readers = [
        threading.Thread(target=_stream, args=(process.stdout, f"[{index}] "), daemon=True)
        for index, process in enumerate(started)
    ]
    for reader in readers:
        reader.start()
    first, passed, deadline, noticed = 0, 0, float("inf"), float("inf")
    while alive := [process for process in started if process.poll() is None]:
        if not first and (failure := _first_failure(started)):
            noticed = min(noticed, time.monotonic())
            # a process may notice a lost peer before that peer's exit status is there
            if failure[1] != hosts.PEER_LOST or time.monotonic() - noticed > LINGER:
                first = _announce(failure, processes)
        if first and deadline == float("inf"):
            _send(alive, signal.SIGTERM)
            deadline = time.monotonic() + grace
        while passed < len(asked):  # a second signal is passed on too, and ends them at once
            _send(alive, signal.Signals(asked[passed]))
            passed += 1
            deadline = time.monotonic() + (grace if passed == 1 else 0)
        if time.monotonic() > deadline:
            _send(alive, signal.SIGKILL)
        time.sleep(POLL)
    for reader in readers:
        reader.join(timeout=5)
    if not first and (failure := _first_failure(started)):
        first = _announce(failure, processes)
    return first


def _first_failure(started: Sequence[subprocess.Popen]) -> tuple[int, int] | None:
    """The index and status of a failed process; one that only lost a peer comes last."""
    failed = [(index, code) for index, process in enumerate(started) if (code := process.poll())]
    return min(failed, key=lambda failure: failure[1] == hosts.PEER_LOST, default=None)


def _announce(failure: tuple[int, int], processes: int) -> int:
    """Says which process failed; returns its status as in shells."""
    index, code = failure
    name = f"exit status {code}" if code > 0 else signal.Signals(-code).name
    say(f"process {index} of {processes} ended with {name}; ending the others")
    return code if code > 0 else 128 - code


def _start(
    command: Sequence[str], processes: int, index: int, port: int, gpus: str | None
) -> subprocess.Popen:
    where = [
        f"--coordinator=127.0.0.1:{port}",
        f"--process_count={processes}",
        f"--process_id={index}",
    ]
    environment = {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "JAX_COORDINATOR_BIND_ADDRESS": f"127.0.0.1:{port}",  # nobody else can join
    }
    if gpus is not None:
        environment["CUDA_VISIBLE_DEVICES"] = gpus
    return subprocess.Popen(
        [sys.executable, "-m", command[0], *where, *command[1:]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment,
        start_new_session=True,  # Ctrl-C comes to the launcher alone, which passes it on
        preexec_fn=_end_with_parent,
    )


def _end_with_parent() -> None:
    """Sends this process SIGTERM when its parent is gone, for whatever reason. Linux only."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _stream(source: IO[str], prefix: str) -> None:
    with source:
        for line in source:
            if not _of_gloo(line):
                sys.stdout.write(prefix + line)
                sys.stdout.flush()


# What gloo prints at every new connection, in pieces; those of two threads may alternate.
_GLOO = re.compile(
    r"\[Gloo\] Rank | is connected to | peer ranks\. |Expected number of connected peer ranks is : "
)


def _of_gloo(line: str) -> bool:
    """Whether the line holds nothing but gloo's reports of connections."""
    rest, pieces = _GLOO.subn(" ", line)
    return pieces > 0 and all(each.isdecimal() for each in rest.split())


def _send(processes: Sequence[subprocess.Popen], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)


@contextlib.contextmanager
def _passed_on() -> Iterator[list[int]]:
    """Collects the signals that ask a run to stop and arrive within the block."""
    asked: list[int] = []
    numbers = signals.that_stop()
    before = {number: signal.signal(number, lambda n, _: asked.append(n)) for number in numbers}
    try:
        yield asked
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def free_port() -> int:
    """A free TCP port of the loopback address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def visible_gpus() -> list[str]:
    """The NVIDIA GPUs that JAX would find here, as CUDA_VISIBLE_DEVICES names them."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name.strip()]
    return [str(i) for i, _ in enumerate(sorted(Path("/proc/driver/nvidia/gpus").glob("*")))]


def share_gpus(gpus: Sequence[str], processes: int) -> list[str | None]:
    """CUDA_VISIBLE_DEVICES of each process; None, to leave it alone, if there are no GPUs.

    Raises:
        ValueError: the GPUs cannot be divided evenly.
    """
    if not gpus:
        return [None] * processes
    if len(gpus) % processes:
        raise ValueError(
            f"{len(gpus)} GPUs cannot be divided evenly among --processes={processes}. Choose "
            "another number, or name the GPUs to use in CUDA_VISIBLE_DEVICES."
        )
    each = len(gpus) // processes
    return [",".join(gpus[i * each : (i + 1) * each]) for i in range(processes)]


def say(message: str) -> None:
    print(f"launch: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    with console.lasting():
        flag_help.run(main)
