"""Does a run survive what happens in a week? Faults at random moments, round after round.

    python -m experiments.drill --rounds=50 --workdir=runs/drill

Each round is a small run that is struck once, by a signal to one of its processes in a step, a save
or an evaluation, by damage to the files of its newest checkpoint, or by a disk that is full or
read-only. It is started again with the same command until it is finished. Its final state and its
figures must then be, bit for bit, those of a run that nobody disturbed, and no attempt may take
longer than --timeout.

A full disk is a small tmpfs where this process may mount one (as root on Linux); elsewhere it is a
limit on the size of files, RLIMIT_FSIZE, and there is no read-only disk. `result.json` says which.
"""

import contextlib
import dataclasses
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from absl import flags

from cnn_jax.train import log
from experiments import entry, workdir
from experiments.drill_run import MOMENTS, Fault

ROUNDS = flags.DEFINE_integer("rounds", 50, "How many faults.", lower_bound=1)
WORKDIR = flags.DEFINE_string("workdir", "runs/drill", "Where the runs and result.json go.")
SEED = flags.DEFINE_integer("seed", 0, "Of the faults: what, where and when.")
TIMEOUT = flags.DEFINE_float(
    "timeout", 120.0, "Seconds that an attempt may take: longer is a hang."
)
FAULTS = flags.DEFINE_list("faults", [], "Which ones; all by default.")
MINUTES = flags.DEFINE_float("minutes", 0.0, "Begin no round after so many; 0 for no limit.")

STEPS, EVALUATE_EVERY, CHECKPOINT_EVERY = 24, 8, 3
SETTINGS = (
    "--model=mlp", f"--steps={STEPS}", "--batch_size=32", "--learning_rate=0.05",
    "--augment=crop:1", "--mixup=0.2", "--ema_decay=0.9", "--log_every=4", "--nofigures",
    f"--evaluate_every_steps={EVALUATE_EVERY}", f"--checkpoint_every_steps={CHECKPOINT_EVERY}",
)  # fmt: skip
HEARTBEAT = 6  # seconds
ATTEMPTS = 4


class Hang(RuntimeError):
    """An attempt took longer than it may."""


@dataclasses.dataclass
class Round:
    """What happened in one round."""

    fault: str
    detail: str = ""
    struck: bool = False
    attempts: int = 0
    identical: bool = False
    hung: bool = False
    said: str = ""  # the error line of the attempt that was struck


def attempt(where: Path, processes: int, fault: Fault | None = None) -> tuple[int, str]:
    """Starts the experiment once and waits for it: exit status, and what it printed."""
    target = ["experiments.drill_run", *SETTINGS, f"--workdir={where}", f"--heartbeat={HEARTBEAT}"]
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
        output, _ = process.communicate(timeout=TIMEOUT.value)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)
        time.sleep(6)  # the launcher ends its processes
        os.killpg(process.pid, signal.SIGKILL)
        raise Hang(f"longer than {TIMEOUT.value:g} s: {process.communicate()[0][-500:]}") from None
    return process.returncode, output


def finish(where: Path, processes: int, made: Round, fault: Fault | None = None) -> None:
    """Starts it again and again until there is a result."""
    while not (where / workdir.RESULT_FILE).exists() and made.attempts < ATTEMPTS:
        made.attempts += 1
        status, output = attempt(where, processes, fault)
        lines = [line for line in output.splitlines() if "error:" in line or "damaged" in line]
        if lines and not made.said:
            made.said = lines[0][:300]
        if status and made.attempts > 1:
            made.detail += f"; attempt {made.attempts} ended with {status}"


def outcome(where: Path) -> tuple[dict, list]:
    """Checksums of the final state, and the figures of all rows."""
    saved = where / "checkpoints" / str(STEPS) / "meta" / "metadata"
    rows = [
        {name: value for name, value in row.items() if not name.startswith("wall_")}
        for row in log.read_rows(where / "metrics.jsonl")
    ]
    return json.loads(saved.read_text())["crc32"], rows


def by_signal(name: str, processes: int) -> Callable[[Path, random.Random, Round], None]:
    """A signal to one of the processes, which sends it to itself in the chosen moment."""

    def play(where: Path, chance: random.Random, made: Round) -> None:
        moment = chance.choice(MOMENTS)
        most = {"step": STEPS - 2, "save": STEPS // CHECKPOINT_EVERY - 1, "evaluation": 1}[moment]
        fault = Fault(
            signal=name,
            moment=moment,
            count=chance.randint(0, most),
            delay=chance.uniform(0, 0.2) if moment == "save" else chance.uniform(0, 0.05),
            process=chance.randrange(processes),
            fired=str(where.with_suffix(".fired")),
        )
        made.detail = f"{moment} {fault.count}, process {fault.process} of {processes}"
        finish(where, processes, made, fault)
        made.struck = Path(fault.fired).exists()

    return play


def damage(kind: str, interrupted: Path) -> Callable[[Path, random.Random, Round], None]:
    """A file of the newest checkpoint of an interrupted run, cut short or with one bit turned."""

    def play(where: Path, chance: random.Random, made: Round) -> None:
        shutil.copytree(interrupted, where)
        steps = (
            int(path.name) for path in (where / "checkpoints").iterdir() if path.name.isdigit()
        )
        newest = where / "checkpoints" / str(max(steps))
        files = sorted(path for path in newest.rglob("*") if path.stat().st_size and path.is_file())
        file = chance.choice(files)
        content = bytearray(file.read_bytes())
        position = chance.randrange(len(content))
        if kind == "truncation":
            del content[position:]
        else:
            content[position] ^= 1 << chance.randrange(8)
        file.write_bytes(content)
        made.detail = f"byte {position} of {file.relative_to(where / 'checkpoints')}"
        made.struck = True
        finish(where, 1, made)

    return play


def full_disk(where: Path, chance: random.Random, made: Round) -> None:
    """The run directory on a tmpfs that is too small for it; then the disk is enlarged."""
    with small_disk(where, kilobytes := chance.randint(300, 1800)):
        made.detail = f"tmpfs of {kilobytes} kB"
        expect_one_line(where, made)
        mount("-o", "remount,size=128m", str(where))
        finish(where, 1, made)


def limited_files(where: Path, chance: random.Random, made: Round) -> None:
    """In the place of a full disk, where none can be mounted: no file may grow any more."""
    count = chance.randint(0, STEPS // CHECKPOINT_EVERY - 1)
    fired = where.with_suffix(".fired")
    made.detail = f"save {count}"
    expect_one_line(where, made, Fault("FSIZE", "save", count, 0.0, 0, str(fired)))
    finish(where, 1, made)


def read_only(interrupted: Path) -> Callable[[Path, random.Random, Round], None]:
    """An interrupted run is started again while its disk is read-only."""

    def play(where: Path, chance: random.Random, made: Round) -> None:
        with small_disk(where, 1 << 17):
            shutil.copytree(interrupted, where, dirs_exist_ok=True)
            mount("-o", "remount,ro", str(where))
            expect_one_line(where, made)
            mount("-o", "remount,rw", str(where))
            finish(where, 1, made)

    return play


def expect_one_line(where: Path, made: Round, fault: Fault | None = None) -> None:
    """An attempt that a disk may end: then with status 1 and one line."""
    made.attempts += 1
    status, output = attempt(where, 1, fault)
    errors = [line for line in output.splitlines() if line.startswith("error:")]
    made.struck = status != 0
    made.said = (errors or [""])[0][:300]
    # what asyncio prints of the save that was given up may come before it
    if status and (status != 1 or len(errors) != 1):
        raise RuntimeError(f"exit status {status}, and not one clear line: {output[-2000:]}")


@contextlib.contextmanager
def small_disk(where: Path, kilobytes: int) -> Iterator[None]:
    """A tmpfs at `where`; what it holds in the end is kept there without it."""
    where.mkdir()
    mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(where))
    kept = where.with_suffix(".kept")
    try:
        yield
    finally:
        shutil.copytree(where, kept)
        subprocess.run(["umount", str(where)], check=True)
        where.rmdir()
        kept.rename(where)


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


def can_mount(where: Path) -> bool:
    """Whether this process may mount a tmpfs."""
    try:
        with small_disk(where, 64):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False
    finally:
        shutil.rmtree(where, ignore_errors=True)


def interrupted_run(where: Path) -> Path:
    """A run that SIGTERM stopped before its second evaluation."""
    fault = Fault("SIGTERM", "step", STEPS // 2, 0.0, 0, str(where.with_suffix(".fired")))
    attempt(where, 1, fault)
    if (where / workdir.RESULT_FILE).exists():
        raise RuntimeError(f"SIGTERM did not stop the run in {where}.")
    return where


def main() -> int:
    began = time.monotonic()
    root = Path(WORKDIR.value).expanduser().absolute()
    if root.exists():
        raise ValueError(f"--workdir={root} exists; a drill begins in an empty directory.")
    root.mkdir(parents=True)
    references = {}
    for processes in (1, 2):
        where = root / f"undisturbed-{processes}"
        status, output = attempt(where, processes)
        if status:
            raise RuntimeError(f"The undisturbed run ended with {status}: {output[-2000:]}")
        references[processes] = outcome(where)
    interrupted = interrupted_run(root / "interrupted")
    mounts = can_mount(root / "disk")
    faults: dict[str, tuple[int, Callable[[Path, random.Random, Round], None]]] = {
        "SIGKILL": (2, by_signal("SIGKILL", 2)),
        "truncation": (1, damage("truncation", interrupted)),
        "SIGTERM": (2, by_signal("SIGTERM", 2)),
        "bit flip": (1, damage("bit flip", interrupted)),
        "SIGSTOP": (2, by_signal("SIGSTOP", 2)),
        "full disk": (1, full_disk if mounts else limited_files),
        "SIGKILL of the only one": (1, by_signal("SIGKILL", 1)),
        "SIGTERM to the only one": (1, by_signal("SIGTERM", 1)),
    }
    if mounts:
        faults["read-only disk"] = (1, read_only(interrupted))
    if unknown := set(FAULTS.value) - faults.keys():
        raise ValueError(f"--faults={','.join(unknown)}: choose from {', '.join(faults)}.")
    chance = random.Random(SEED.value)
    rounds: list[Round] = []
    for number, name in zip(
        range(ROUNDS.value), itertools.cycle(FAULTS.value or faults), strict=False
    ):
        if MINUTES.value and time.monotonic() - began > 60 * MINUTES.value:
            break
        processes, play = faults[name]
        made = Round(name)
        where = root / f"{number:03}"
        try:
            play(where, chance, made)
            made.identical = outcome(where) == references[processes]
        except Hang as error:
            made.hung, made.said = True, str(error)
        except (RuntimeError, OSError) as error:
            made.said = f"{type(error).__name__}: {error}"
        rounds.append(made)
        verdict = "identical" if made.identical else "HUNG" if made.hung else "DIFFERENT"
        entry.CONSOLE.print(
            f"{number + 1:3}  {name}: {verdict}, {made.attempts} attempts; {made.detail}"
            + ("" if made.identical else f"; {made.said}"),
            markup=False,
            soft_wrap=True,
        )
        if made.identical:
            shutil.rmtree(where)
    result = summary(rounds, mounts, time.monotonic() - began)
    workdir.write_result(root, result)
    entry.CONSOLE.print_json(json.dumps({k: v for k, v in result.items() if k != "log"}))
    return 0 if result["identical"] == result["rounds"] else 1


def summary(rounds: list[Round], mounts: bool, seconds: float) -> dict[str, Any]:
    """The counts, and what happened in each round."""

    def counts(some: list[Round]) -> dict[str, int]:
        return {
            "rounds": len(some),
            "struck": sum(made.struck for made in some),
            "identical": sum(made.identical for made in some),
            "hung": sum(made.hung for made in some),
        }

    names = dict.fromkeys(made.fault for made in rounds)
    return {
        **counts(rounds),
        "by_fault": {
            name: counts([made for made in rounds if made.fault == name]) for name in names
        },
        "disk": "tmpfs" if mounts else "RLIMIT_FSIZE",
        "timeout_seconds": TIMEOUT.value,
        "heartbeat_seconds": HEARTBEAT,
        "seconds": round(seconds, 1),
        "log": [dataclasses.asdict(made) for made in rounds],
    }


if __name__ == "__main__":
    entry.launch(main)
