"""Reads what a run has saved, while the run may be going on. Nothing is written."""

from pathlib import Path
from typing import Any, NamedTuple

from cnn_jax.run import directory as directories
from cnn_jax.run import resuming
from cnn_jax.run import workdir as workdirs
from cnn_jax.run.facts import Facts
from cnn_jax.train import checkpoint as checkpoints
from cnn_jax.train import hosts

ATTEMPTS = 3  # at a checkpoint that a running run may delete meanwhile


class Saved(NamedTuple):
    """A checkpoint of a run.

    Attributes:
        step: number of updates made.
        state: as nested dicts: 'params', 'model_state', 'ema_params', ...
        facts: what the run says about itself.
        settings: its recipe, as strings by name.
    """

    step: int
    state: dict[str, Any]
    facts: Facts
    settings: dict[str, str]

    def variables(self, *, averaged: bool = True) -> dict[str, Any]:
        """The variables: with the average of the parameters, if it is wanted and there is one."""
        average = self.state.get("ema_params") if averaged else None
        params = self.state["params"] if average is None else average
        return {"params": params, **self.state["model_state"]}


def settings_of(directory: Path, place: str) -> dict[str, str]:
    """The settings of the run in a directory.

    Raises:
        ValueError: there is no run, or its recipe is lost.
    """
    flagfile = directory / workdirs.RECIPE_FILE
    settings = resuming.read_recipe(flagfile)
    if not settings:
        raise ValueError(f"{place} is no run directory: it has no {flagfile.name}.")
    return settings


def read_run(place: str, which: str | int) -> Saved:
    """The checkpoint of a run directory or its s3:// URL: 'best', 'last' or that of a step.

    Raises:
        ValueError: there is no run there, or no such checkpoint.
        CheckpointError: the checkpoint is damaged.
        StoreError: the store cannot be read.
    """
    with directories.readable(place) as directory:
        settings = settings_of(directory, place)
        step, state, meta = read(directory / resuming.CHECKPOINTS, place, which)
        return Saved(step, state, Facts.from_json(meta["facts"]), settings)


def read(directory: Path, place: str, which: str | int) -> tuple[int, dict, dict]:
    """(step, state, meta) of a checkpoint, as it was saved.

    Args:
        directory: directory of the checkpoints.
        place: the run, for messages.
        which: 'best', which is the last where none was evaluated; 'last'; or a step.

    Raises:
        ValueError: there is no such checkpoint.
        CheckpointError: it is damaged.
    """
    for attempt in range(ATTEMPTS):
        if not directory.is_dir():
            break
        # of several processes the first one reads, which is where this is called
        manager = checkpoints.Checkpoints(directory, read_only=True, shared=not hosts.several())
        try:
            steps = manager.steps()
            if not steps:
                break
            if isinstance(which, int) and which not in steps:
                raise ValueError(
                    f"checkpoint={which}: {place} has checkpoints of the steps "
                    f"{', '.join(map(str, steps))}."
                )
            best = manager.best_step() if which == "best" else None
            step = which if isinstance(which, int) else best or steps[-1]
            try:
                return step, *manager.restore_as_saved(step)
            except checkpoints.CheckpointError:
                gone = not (directory / str(step)).is_dir()
                if not gone or attempt == ATTEMPTS - 1:
                    raise
        finally:
            manager.close()
    raise ValueError(f"{place} has no checkpoint yet.")


def last_step(place: str) -> int:
    """The step of the last checkpoint of a run.

    Raises:
        ValueError: there is no run there, or it has no checkpoint.
    """
    with directories.readable(place) as directory:
        settings_of(directory, place)
        found = directory / resuming.CHECKPOINTS
        names = [each.name for each in found.iterdir()] if found.is_dir() else []
        steps = [int(name) for name in names if name.isdecimal()]
        if not steps:
            raise ValueError(f"{place} has no checkpoint yet.")
        return max(steps)
