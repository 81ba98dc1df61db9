"""The faults of the drill, and what is expected of a run after each; see `experiments.drill`."""

import contextlib
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from cnn_jax.run import workdir
from cnn_jax.train import hosts
from experiments.drill.attempt import (
    CHECKPOINT_EVERY,
    STEPS,
    Round,
    attempt,
    expect_one_line,
    finish,
)
from experiments.drill.run import MOMENTS, Fault

STEP_TIMEOUT = 12  # seconds, if a step is frozen
STARTING = 8.0  # about the seconds from the start of a run to its first step
IMAGES = 30  # images of each of the folder's two classes

Play = Callable[[Path, random.Random, Round], None]


def by_signal(name: str, processes: int) -> Play:
    """A signal to one of the processes, which sends it to itself at the chosen moment."""

    def play(directory: Path, chance: random.Random, made: Round) -> None:
        moment = chance.choice(MOMENTS)
        most = {"step": STEPS - 2, "save": STEPS // CHECKPOINT_EVERY - 1, "evaluation": 1}[moment]
        fault = Fault(
            signal=name,
            moment=moment,
            count=chance.randint(0, most),
            delay=chance.uniform(0, 0.2) if moment == "save" else chance.uniform(0, 0.05),
            process=chance.randrange(processes),
            fired=str(directory.with_suffix(".fired")),
        )
        made.detail = f"{moment} {fault.count}, process {fault.process} of {processes}"
        finish(directory, processes, made, fault)
        made.struck = Path(fault.fired).exists()

    return play


def damage(kind: str, interrupted: Path) -> Play:
    """A file of the newest checkpoint of an interrupted run is cut short, or one bit is flipped."""

    def play(directory: Path, chance: random.Random, made: Round) -> None:
        shutil.copytree(interrupted, directory)
        steps = (
            int(path.name) for path in (directory / "checkpoints").iterdir() if path.name.isdigit()
        )
        newest = directory / "checkpoints" / str(max(steps))
        files = sorted(path for path in newest.rglob("*") if path.stat().st_size and path.is_file())
        file = chance.choice(files)
        content = bytearray(file.read_bytes())
        position = chance.randrange(len(content))
        if kind == "truncation":
            del content[position:]
        else:
            content[position] ^= 1 << chance.randrange(8)
        file.write_bytes(content)
        made.detail = f"byte {position} of {file.relative_to(directory / 'checkpoints')}"
        made.struck = True
        finish(directory, 1, made)

    return play


def full_disk(directory: Path, chance: random.Random, made: Round) -> None:
    """The run directory is on a tmpfs that is too small for it; then the disk is enlarged."""
    with small_disk(directory, kilobytes := chance.randint(300, 1800)):
        made.detail = f"tmpfs of {kilobytes} kB"
        expect_one_line(directory, made)
        mount("-o", "remount,size=128m", str(directory))
        finish(directory, 1, made)


def limited_files(directory: Path, chance: random.Random, made: Round) -> None:
    """Stands in for a full disk if no tmpfs can be mounted: no file may grow any more."""
    count = chance.randint(0, STEPS // CHECKPOINT_EVERY - 1)
    fired = directory.with_suffix(".fired")
    made.detail = f"save {count}"
    expect_one_line(directory, made, Fault("FSIZE", "save", count, 0.0, 0, str(fired)))
    finish(directory, 1, made)


def lost_recipe(interrupted: Path) -> Play:
    """recipe.flags of an interrupted run is emptied, cut short or removed; then restored."""

    def play(directory: Path, chance: random.Random, made: Round) -> None:
        shutil.copytree(interrupted, directory)
        flagfile = directory / workdir.RECIPE_FILE
        whole = flagfile.read_bytes()
        made.detail = chance.choice(("emptied", "cut short", "gone"))
        if made.detail == "gone":
            flagfile.unlink()
        else:
            cut = chance.randrange(1, len(whole)) if made.detail == "cut short" else 0
            flagfile.write_bytes(whole[:cut])
        expect_one_line(directory, made, naming=workdir.RECIPE_FILE)
        flagfile.write_bytes(whole)
        finish(directory, 1, made)

    return play


def folder_flags(data: Path) -> list[str]:
    """The flags of a run on a folder of images."""
    return [f"--dataset=folder:{data}", "--image_size=8", "--crop=whole", "--channels=1"]


def make_folder(data: Path) -> Path:
    """Creates a folder of two classes of noise, one of them lighter."""
    noise = np.random.default_rng(0)
    for label, name in enumerate(("dark", "light")):
        (data / name).mkdir(parents=True)
        for i in range(IMAGES):
            pixels = noise.integers(0, 128, (8, 8)) + 100 * label
            Image.fromarray(pixels.astype(np.uint8)).save(data / name / f"{i}.png")
    return data


def shrunken_set(interrupted: Path, data: Path) -> Play:
    """Some of the training files are gone when the run is resumed, and then restored."""

    def play(directory: Path, chance: random.Random, made: Round) -> None:
        shutil.copytree(interrupted, directory)
        own = shutil.copytree(data, directory.with_suffix(".data"))
        # the same images in another folder, which is no fault
        files = chance.sample(sorted(own.glob("*/*.png")), chance.randint(1, IMAGES // 2))
        contents = {file: file.read_bytes() for file in files}
        for file in files:
            file.unlink()
        made.detail = f"{len(files)} of {2 * IMAGES} images"
        expect_one_line(directory, made, naming="examples and has", more=folder_flags(own))
        for file, content in contents.items():
            file.write_bytes(content)
        finish(directory, 1, made, more=folder_flags(own))
        shutil.rmtree(own)

    return play


def closed_pipe(directory: Path, chance: random.Random, made: Round) -> None:
    """The reader of the run's output closes the pipe after some lines; the run continues."""
    lines = chance.randint(0, 8)
    made.detail = f"after {lines} lines"
    made.attempts, made.struck = 1, True
    status, _ = attempt(directory, 1, lines=lines)
    if status or not (directory / workdir.RESULT_FILE).exists():
        raise RuntimeError(f"exit status {status} after the pipe was closed")


def frozen(processes: int) -> Play:
    """One process never returns from a training or evaluation step."""

    def play(directory: Path, chance: random.Random, made: Round) -> None:
        moment = chance.choice(("step", "step", "evaluation"))
        count = 1 if moment == "evaluation" else chance.randint(1, STEPS - 2)
        process = chance.randrange(processes)
        fault = Fault("FREEZE", moment, count, 0.0, process, str(directory.with_suffix(".fired")))
        made.detail = f"{moment} {count}, process {process} of {processes}"
        made.attempts = 1
        more = [f"--step_timeout={STEP_TIMEOUT}"]
        status, output = attempt(directory, processes, fault, more=more)
        made.struck = Path(fault.fired).exists()
        said = [line for line in output.splitlines() if f"no step within {STEP_TIMEOUT} s" in line]
        made.said = (said or [""])[0][:300]
        if status != hosts.PEER_LOST or not said:
            raise RuntimeError(f"exit status {status}, without the place: {output[-2000:]}")
        finish(directory, processes, made)

    return play


def at_the_start(processes: int) -> Play:
    """SIGTERM during the start: importing, reading data, compiling."""

    def play(directory: Path, chance: random.Random, made: Round) -> None:
        seconds = chance.uniform(0.3, STARTING)
        made.detail, made.attempts = f"after {seconds:.1f} s", 1
        status, output = attempt(directory, processes, sigterm_after=seconds)
        said = [line for line in output.splitlines() if "SIGTERM: " in line]
        made.struck, made.said = bool(said), (said or [""])[0][:300]
        finished = (directory / workdir.RESULT_FILE).exists()
        if status == -signal.SIGTERM and not output:  # before Python had read a line of ours
            status, finished = 0, True
        if status or "Traceback" in output or not (said or finished):
            raise RuntimeError(f"exit status {status}, and not one clear line: {output[-2000:]}")
        finish(directory, processes, made)

    return play


def read_only(interrupted: Path) -> Play:
    """An interrupted run is resumed while its disk is read-only."""

    def play(directory: Path, chance: random.Random, made: Round) -> None:
        with small_disk(directory, 1 << 17):
            shutil.copytree(interrupted, directory, dirs_exist_ok=True)
            mount("-o", "remount,ro", str(directory))
            expect_one_line(directory, made)
            mount("-o", "remount,rw", str(directory))
            finish(directory, 1, made)

    return play


@contextlib.contextmanager
def small_disk(directory: Path, kilobytes: int) -> Iterator[None]:
    """Mounts a tmpfs at `directory`, which keeps its final content after unmounting."""
    directory.mkdir()
    mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(directory))
    kept = directory.with_suffix(".kept")
    try:
        yield
    finally:
        shutil.copytree(directory, kept)
        subprocess.run(["umount", str(directory)], check=True)
        directory.rmdir()
        kept.rename(directory)


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


def can_mount(directory: Path) -> bool:
    """Whether this process may mount a tmpfs."""
    try:
        with small_disk(directory, 64):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False
    finally:
        shutil.rmtree(directory, ignore_errors=True)
