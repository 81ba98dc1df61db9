"""What strikes a run of the drill, and what is expected of it; see `experiments.drill`."""

import contextlib
import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from absl import flags
from PIL import Image

from cnn_jax.train import hosts, log
from experiments import workdir
from experiments.drill_run import MOMENTS, Fault

TIMEOUT = flags.DEFINE_float(
    "timeout", 120.0, "Seconds that an attempt may take: longer is a hang."
)

STEPS, EVALUATE_EVERY, CHECKPOINT_EVERY = 24, 8, 3
SETTINGS = (
    "--model=mlp", f"--steps={STEPS}", "--batch_size=32", "--learning_rate=0.05",
    "--augment=crop:1", "--mixup=0.2", "--ema_decay=0.9", "--log_every=4", "--nofigures",
    f"--evaluate_every_steps={EVALUATE_EVERY}", f"--checkpoint_every_steps={CHECKPOINT_EVERY}",
)  # fmt: skip
HEARTBEAT = 6  # seconds
STEP_TIMEOUT = 8  # seconds, where a step is frozen
STARTING = 8.0  # seconds that a run takes to its first step, about
ATTEMPTS = 4
PICTURES = 30  # of each of the two classes of the folder

Play = Callable[[Path, random.Random, "Round"], None]


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


def attempt(
    where: Path,
    processes: int,
    fault: Fault | None = None,
    *,
    more: Sequence[str] = (),
    sigterm_after: float | None = None,
    lines: int | None = None,
) -> tuple[int, str]:
    """Starts the experiment once and waits for it: exit status, and what it printed.

    Args:
        where: the run directory.
        processes: one, or several by the launcher.
        fault: that strikes from within.
        more: flags.
        sigterm_after: seconds to a SIGTERM from without.
        lines: how many are read before the pipe is closed; None for all.

    Raises:
        Hang: it took longer than --timeout.
    """
    target = ["experiments.drill_run", *SETTINGS, f"--workdir={where}", f"--heartbeat={HEARTBEAT}"]
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
    where: Path,
    processes: int,
    made: Round,
    fault: Fault | None = None,
    *,
    more: Sequence[str] = (),
) -> None:
    """Starts it again and again until there is a result."""
    while not (where / workdir.RESULT_FILE).exists() and made.attempts < ATTEMPTS:
        made.attempts += 1
        status, output = attempt(where, processes, fault, more=more)
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


def by_signal(name: str, processes: int) -> Play:
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


def damage(kind: str, interrupted: Path) -> Play:
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


def lost_recipe(interrupted: Path) -> Play:
    """recipe.flags of an interrupted run emptied, cut short or gone; then put back by hand."""

    def play(where: Path, chance: random.Random, made: Round) -> None:
        shutil.copytree(interrupted, where)
        flagfile = where / workdir.RECIPE_FILE
        whole = flagfile.read_bytes()
        made.detail = chance.choice(("emptied", "cut short", "gone"))
        if made.detail == "gone":
            flagfile.unlink()
        else:
            cut = chance.randrange(1, len(whole)) if made.detail == "cut short" else 0
            flagfile.write_bytes(whole[:cut])
        expect_one_line(where, made, naming=workdir.RECIPE_FILE)
        flagfile.write_bytes(whole)
        finish(where, 1, made)

    return play


def folder_flags(data: Path) -> list[str]:
    """Of a run on a folder of pictures."""
    return [f"--dataset=folder:{data}", "--image_size=8", "--crop=whole", "--channels=1"]


def make_folder(data: Path) -> Path:
    """Two classes of noise, one of them lighter."""
    noise = np.random.default_rng(0)
    for label, name in enumerate(("dark", "light")):
        (data / name).mkdir(parents=True)
        for i in range(PICTURES):
            pixels = noise.integers(0, 128, (8, 8)) + 100 * label
            Image.fromarray(pixels.astype(np.uint8)).save(data / name / f"{i}.png")
    return data


def shrunken_set(interrupted: Path, data: Path) -> Play:
    """Some of the files that a run is trained on are gone when it is to go on, then there again."""

    def play(where: Path, chance: random.Random, made: Round) -> None:
        shutil.copytree(interrupted, where)
        own = shutil.copytree(data, where.with_suffix(".data"))
        # the same pictures at another place, which is no fault
        files = chance.sample(sorted(own.glob("*/*.png")), chance.randint(1, PICTURES // 2))
        contents = {file: file.read_bytes() for file in files}
        for file in files:
            file.unlink()
        made.detail = f"{len(files)} of {2 * PICTURES} pictures"
        expect_one_line(where, made, naming="examples and has", more=folder_flags(own))
        for file, content in contents.items():
            file.write_bytes(content)
        finish(where, 1, made, more=folder_flags(own))
        shutil.rmtree(own)

    return play


def closed_pipe(where: Path, chance: random.Random, made: Round) -> None:
    """Whoever reads what the run prints goes away after some lines; the run goes on."""
    lines = chance.randint(0, 8)
    made.detail = f"after {lines} lines"
    made.attempts, made.struck = 1, True
    status, _ = attempt(where, 1, lines=lines)
    if status or not (where / workdir.RESULT_FILE).exists():
        raise RuntimeError(f"exit status {status} after the pipe was closed")


def frozen(processes: int) -> Play:
    """One process does not come out of a step, or a batch of an evaluation, any more."""

    def play(where: Path, chance: random.Random, made: Round) -> None:
        moment = chance.choice(("step", "step", "evaluation"))
        count = 1 if moment == "evaluation" else chance.randint(1, STEPS - 2)
        process = chance.randrange(processes)
        fault = Fault("FREEZE", moment, count, 0.0, process, str(where.with_suffix(".fired")))
        made.detail = f"{moment} {count}, process {process} of {processes}"
        made.attempts = 1
        more = [f"--step_timeout={STEP_TIMEOUT}"]
        status, output = attempt(where, processes, fault, more=more)
        made.struck = Path(fault.fired).exists()
        said = [line for line in output.splitlines() if f"no step within {STEP_TIMEOUT} s" in line]
        made.said = (said or [""])[0][:300]
        if status != hosts.PEER_LOST or not said:
            raise RuntimeError(f"exit status {status}, and not where it was: {output[-2000:]}")
        finish(where, processes, made)

    return play


def at_the_start(processes: int) -> Play:
    """SIGTERM while it starts: in an import, while data are read, a program compiled."""

    def play(where: Path, chance: random.Random, made: Round) -> None:
        seconds = chance.uniform(0.3, STARTING)
        made.detail, made.attempts = f"after {seconds:.1f} s", 1
        status, output = attempt(where, processes, sigterm_after=seconds)
        said = [line for line in output.splitlines() if "SIGTERM: " in line]
        made.struck, made.said = bool(said), (said or [""])[0][:300]
        finished = (where / workdir.RESULT_FILE).exists()
        if status or "Traceback" in output or not (said or finished):
            raise RuntimeError(f"exit status {status}, and not one clear line: {output[-2000:]}")
        finish(where, processes, made)

    return play


def read_only(interrupted: Path) -> Play:
    """An interrupted run is started again while its disk is read-only."""

    def play(where: Path, chance: random.Random, made: Round) -> None:
        with small_disk(where, 1 << 17):
            shutil.copytree(interrupted, where, dirs_exist_ok=True)
            mount("-o", "remount,ro", str(where))
            expect_one_line(where, made)
            mount("-o", "remount,rw", str(where))
            finish(where, 1, made)

    return play


def expect_one_line(
    where: Path,
    made: Round,
    fault: Fault | None = None,
    *,
    naming: str = "",
    more: Sequence[str] = (),
) -> None:
    """An attempt that a disk may end: then with status 1 and one line.

    Where the line must name something, the attempt has to end so.
    """
    made.attempts += 1
    status, output = attempt(where, 1, fault, more=more)
    errors = [line for line in output.splitlines() if line.startswith("error:")]
    made.struck = status != 0
    made.said = (errors or [""])[0][:300]
    # what asyncio prints of the save that was given up may come before it
    if status and (status != 1 or len(errors) != 1):
        raise RuntimeError(f"exit status {status}, and not one clear line: {output[-2000:]}")
    if naming and naming not in made.said:
        raise RuntimeError(f"exit status {status}, and nothing of {naming!r}: {output[-2000:]}")


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
