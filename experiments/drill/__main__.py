"""Tests whether runs survive faults at random moments, round after round.

    python -m experiments.drill --rounds=50 --workdir=runs/drill

Each round is a small run with one fault: a signal to one of its processes during a step, a save, an
evaluation or the start; a step that never ends; damage to the files of its newest checkpoint or the
loss of its recipe.flags; data that have partly disappeared; a disk that is full or read-only; a
closed pipe at its output. The same command is repeated until the run is finished; a run
that cannot continue must say why in one line, and continue once that is repaired. Its final state
and metrics must then equal those of an undisturbed run bit for bit, and no attempt may take longer
than --timeout.

A full disk is a small tmpfs if this process may mount one (as root on Linux); otherwise it is a
limit on the size of files, RLIMIT_FSIZE, and there is no read-only disk. `result.json` says which.
"""

import dataclasses
import itertools
import json
import random
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from cnn_jax.run import workdir
from cnn_jax.stores import local_path
from experiments import entry
from experiments.drill import attempt as runs
from experiments.drill import faults
from experiments.drill.run import Fault

ROUNDS = flags.DEFINE_integer("rounds", 50, "Number of rounds, one fault each.", lower_bound=1)
WORKDIR = flags.DEFINE_string("workdir", "runs/drill", "Directory for the runs and result.json.")
SEED = flags.DEFINE_integer("seed", 0, "Seed for the details of the faults.")
FAULTS = flags.DEFINE_list("faults", [], "Names of the faults; empty for all.")
FIRST = flags.DEFINE_integer(
    "first", 0, "Number of the first round, to run a drill in parts.", lower_bound=0
)
MINUTES = flags.DEFINE_float("minutes", 0.0, "Minutes after which no round begins; 0: no limit.")


DATA = "data"  # directory of the folder of images, within the drill's
INTERRUPTED = {"1": "interrupted", "folder": "interrupted-folder"}  # runs that faults damage


def interrupted_run(directory: Path, more: Sequence[str] = ()) -> Path:
    """A run that SIGTERM stopped before its second evaluation."""
    fault = Fault("SIGTERM", "step", runs.STEPS // 2, 0.0, 0, str(directory.with_suffix(".fired")))
    runs.attempt(directory, 1, fault, more=more)
    if (directory / workdir.RESULT_FILE).exists():
        raise RuntimeError(f"SIGTERM did not stop the run in {directory}.")
    return directory


def plays_of(root: Path, *, mounts: bool) -> dict[str, tuple[str, faults.Play]]:
    """The faults by name: each with the name of its undisturbed run, see `undisturbed`.

    Args:
        root: directory of the drill.
        mounts: whether this process may mount a small disk.
    """
    interrupted = root / INTERRUPTED["1"]
    on_folder, data = root / INTERRUPTED["folder"], root / DATA
    plays = {
        "SIGKILL": ("2", faults.by_signal("SIGKILL", 2)),
        "truncation": ("1", faults.damage("truncation", interrupted)),
        "SIGTERM": ("2", faults.by_signal("SIGTERM", 2)),
        "recipe lost": ("1", faults.lost_recipe(interrupted)),
        "frozen": ("2", faults.frozen(2)),
        "SIGHUP to the only one": ("1", faults.by_signal("SIGHUP", 1)),
        "bit flip": ("1", faults.damage("bit flip", interrupted)),
        "SIGSTOP": ("2", faults.by_signal("SIGSTOP", 2)),
        "shrunken set": ("folder", faults.shrunken_set(on_folder, data)),
        "SIGTERM at the start": ("1", faults.at_the_start(1)),
        "full disk": ("1", faults.full_disk if mounts else faults.limited_files),
        "SIGHUP": ("2", faults.by_signal("SIGHUP", 2)),
        "closed pipe": ("1", faults.closed_pipe),
        "SIGKILL of the only one": ("1", faults.by_signal("SIGKILL", 1)),
        "SIGTERM to two at the start": ("2", faults.at_the_start(2)),
        "SIGTERM to the only one": ("1", faults.by_signal("SIGTERM", 1)),
        "the only one frozen": ("1", faults.frozen(1)),
    }
    if mounts:
        plays["read-only disk"] = ("1", faults.read_only(interrupted))
    return plays


def undisturbed(root: Path, names: set[str]) -> dict[str, Any]:
    """The outcomes of undisturbed runs: '1' or '2' processes, or one on a 'folder' of images.

    It also makes the interrupted runs that some faults damage.
    """
    on_folder = faults.folder_flags(root / DATA)
    references = {}
    for name in names:
        more = on_folder if name == "folder" else []
        directory = root / f"undisturbed-{name}"
        status, output = runs.attempt(directory, 2 if name == "2" else 1, more=more)
        if status:
            raise RuntimeError(f"The undisturbed run ended with {status}: {output[-2000:]}")
        references[name] = runs.outcome(directory)
        if name in INTERRUPTED:
            interrupted_run(root / INTERRUPTED[name], more)
    return references


def play_round(directory: Path, name: str, play: faults.Play, number: int, want: Any) -> runs.Round:
    """One round: the fault, the run to its end, and the comparison with the undisturbed one."""
    made = runs.Round(name)
    try:
        play(directory, random.Random(f"{SEED.value}/{number}"), made)
        made.identical = runs.outcome(directory) == want
    except runs.Hang as error:
        made.hung, made.said = True, str(error)
    except (RuntimeError, OSError) as error:
        made.said = f"{type(error).__name__}: {error}"
    verdict = "identical" if made.identical else "HUNG" if made.hung else "DIFFERENT"
    entry.CONSOLE.print(
        f"{number + 1:3}  {name}: {verdict}, {made.attempts} attempts; {made.detail}"
        + ("" if made.identical else f"; {made.said}"),
        markup=False,
        soft_wrap=True,
    )
    if made.identical:
        shutil.rmtree(directory)
    return made


def main() -> int:
    began = time.monotonic()
    root = local_path(WORKDIR.value).absolute()
    if root.exists():
        raise ValueError(f"--workdir={root} exists: give a new directory.")
    root.mkdir(parents=True)
    mounts = faults.can_mount(root / "disk")
    plays = plays_of(root, mounts=mounts)
    if unknown := set(FAULTS.value) - plays.keys():
        root.rmdir()  # the same command, corrected, may use it
        raise ValueError(f"--faults={','.join(unknown)}: choose from {', '.join(plays)}.")
    order = itertools.islice(itertools.cycle(FAULTS.value or plays), FIRST.value, None)
    chosen = dict(zip(range(FIRST.value, FIRST.value + ROUNDS.value), order, strict=False))
    faults.make_folder(root / DATA)
    references = undisturbed(root, {plays[name][0] for name in chosen.values()})
    rounds: list[runs.Round] = []
    for number, name in chosen.items():
        if MINUTES.value and time.monotonic() - began > 60 * MINUTES.value:
            break
        reference, play = plays[name]
        rounds.append(play_round(root / f"{number:03}", name, play, number, references[reference]))
    result = summary(rounds, mounts, time.monotonic() - began)
    workdir.write_result(root, result)
    entry.CONSOLE.print_json(json.dumps({k: v for k, v in result.items() if k != "log"}))
    return 0 if result["identical"] == result["rounds"] else 1


def summary(rounds: list[runs.Round], mounts: bool, seconds: float) -> dict[str, Any]:
    """The counts, and the outcome of each round."""

    def counts(some: list[runs.Round]) -> dict[str, int]:
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
        "timeout_seconds": runs.TIMEOUT.value,
        "heartbeat_seconds": runs.HEARTBEAT,
        "seconds": round(seconds, 1),
        "log": [dataclasses.asdict(made) for made in rounds],
    }


if __name__ == "__main__":
    entry.launch(main)
