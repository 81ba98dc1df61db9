"""Starts one run of the drill and checks how it ends; see `experiments.drill`."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from cnn_jax.run import workdir
from cnn_jax.train import log
from experiments.drill.run import Fault

TIMEOUT = flags.DEFINE_float("timeout", 120.0, "Seconds after which an attempt counts as hung.")

STEPS, EVALUATE_EVERY, CHECKPOINT_EVERY = 24, 8, 3
SETTINGS = (
    "--model=mlp", f"--steps={STEPS}", "--batch_size=32", "--learning_rate=0.05",
    "--augment=crop:1", "--mixup=0.2", "--ema_decay=0.9", "--log_every=4", "--nofigures",
    f"--evaluate_every_steps={EVALUATE_EVERY}", f"--checkpoint_every_steps={CHECKPOINT_EVERY}",
)  # fmt: skip
HEARTBEAT = 6  # seconds
ATTEMPTS = 4


class Hang(RuntimeError):
    """An attempt took longer than --timeout."""


@dataclasses.dataclass
class Round:
    """The outcome of one round."""

    fault: str
    detail: str = ""
    struck: bool = False
    attempts: int = 0
    identical: bool = False
    hung: bool = False
    said: str = ""  # the error line of the attempt with the fault


def attempt(
    directory: Path,
    processes: int,
    fault: Fault | None = None,
    *,
    more: Sequence[str] = (),
    sigterm_after: float | None = None,
    lines: int | None = None,
) -> tuple[int, str]:
    """Starts the experiment once and waits for it; returns its exit status and its output.

    Args:
        directory: directory of the run.
        processes: number of processes; several use the launcher.
        fault: a fault within the run.
        more: further flags.
        sigterm_after: seconds to a SIGTERM from outside.
        lines: number of lines read before the pipe is closed; None for all.

    Raises:
        Hang: it took longer than --timeout.
    """
    target = [
        "experiments.drill.run",
        *SETTINGS,
        f"--workdir={directory}",
        f"--heartbeat={HEARTBEAT}",
    ]
    target += more
    command = [sys.executable, "-m", *target, f"--cpu_devices={2 // processes}"]
    if processes > 1:
        launcher = ["experiments.launch", f"--processes={processes}", "--grace=5", "--"]
        command[2:2] = launcher
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    environment.pop("DRILL", None)
    if fault is not None:
        environment["DRILL"] = json.dumps(dataclasses.asdict(fault))
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment,
        start_new_session=True,
    )
    try:
        if sigterm_after is not None:
            time.sleep(sigterm_after)
            process.terminate()
        if lines is not None and process.stdout is not None:
            output = "".join(process.stdout.readline() for _ in range(lines))
            process.stdout.close()
            process.wait(timeout=TIMEOUT.value)
        else:
            output, _ = process.communicate(timeout=TIMEOUT.value)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)
        time.sleep(6)  # the launcher ends its processes
        os.killpg(process.pid, signal.SIGKILL)
        said = "" if lines is not None else process.communicate()[0]
        raise Hang(f"longer than {TIMEOUT.value:g} s: {said[-500:]}") from None
    return process.returncode, output


def finish(
    directory: Path,
    processes: int,
    made: Round,
    fault: Fault | None = None,
    *,
    more: Sequence[str] = (),
) -> None:
    """Restarts the run until there is a result."""
    while not (directory / workdir.RESULT_FILE).exists() and made.attempts < ATTEMPTS:
        made.attempts += 1
        status, output = attempt(directory, processes, fault, more=more)
        lines = [line for line in output.splitlines() if "error:" in line or "damaged" in line]
        if lines and not made.said:
            made.said = lines[0][:300]
        if status and made.attempts > 1:
            made.detail += f"; attempt {made.attempts} ended with {status}"


def outcome(directory: Path) -> tuple[dict, list]:
    """Checksums of the final state, and the metrics of all rows."""
    saved = directory / "checkpoints" / str(STEPS) / "meta" / "metadata"
    rows = [
        {name: value for name, value in row.items() if not name.startswith("wall_")}
        for row in log.read_rows(directory / "metrics.jsonl")
    ]
    return json.loads(saved.read_text())["crc32"], rows


def expect_one_line(
    directory: Path,
    made: Round,
    fault: Fault | None = None,
    *,
    naming: str = "",
    more: Sequence[str] = (),
) -> None:
    """Makes an attempt that may fail, but only with status 1 and one line.

    If `naming` is given, the attempt must fail and the line contain it.
    """
    made.attempts += 1
    status, output = attempt(directory, 1, fault, more=more)
    errors = [line for line in output.splitlines() if line.startswith("error:")]
    made.struck = status != 0
    made.said = (errors or [""])[0][:300]
    # asyncio may print about the abandoned save before it
    if status and (status != 1 or len(errors) != 1):
        raise RuntimeError(f"exit status {status}, and not one clear line: {output[-2000:]}")
    if naming and naming not in made.said:
        raise RuntimeError(f"exit status {status}, without {naming!r}: {output[-2000:]}")
