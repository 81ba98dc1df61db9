"""Hands the rows of metrics.jsonl on to a tracker of experiments: Weights & Biases, MLflow or Aim.

The settings become its configuration and the result its summary. A run that is resumed goes on in
the same tracked run, whose name is kept in tracked.json of the run directory. A tracker that fails
never stops a run: it is said once, and the run goes on without it. Where the tracker keeps its
data, and whether it sends them anywhere, is set as it always is (WANDB_MODE, WANDB_DIR,
MLFLOW_TRACKING_URI, AIM_REPO).
"""

import contextlib
import dataclasses
import importlib
import importlib.util
import json
import logging
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from cnn_jax.run.recipe import TrainingRecipe

_log = logging.getLogger(__name__)

FILE = "tracked.json"
PROJECT = "cnn_jax"  # what the runs are kept under, unless the environment says otherwise

Numbers = Mapping[str, float]


class Tracker(Protocol):
    """What a tracker is told. Its package is imported when a run begins."""

    def begin(self, name: str, settings: Mapping[str, Any], known: str) -> str:
        """Begins a run, or goes on with the `known` one; returns the name it can go on with."""

    def row(self, step: int, split: str, numbers: Numbers) -> None:
        """The numbers of a row."""

    def result(self, numbers: Numbers, texts: Mapping[str, str]) -> None:
        """The result."""

    def end(self, how: str) -> None:
        """The run is 'finished', 'interrupted' or 'failed'."""


class Wandb:
    """Weights & Biases."""

    def begin(self, name: str, settings: Mapping[str, Any], known: str) -> str:
        import wandb

        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=name,
            id=known or None,
            resume="allow",
            config=dict(settings),
            settings={"console": "off"},  # our own console is left alone
        )
        # rows of a resumed run may come twice, and wandb's own steps only grow
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")
        return str(self._run.id)

    def row(self, step: int, split: str, numbers: Numbers) -> None:
        self._run.log({"step": step, **{f"{split}/{name}": n for name, n in numbers.items()}})

    def result(self, numbers: Numbers, texts: Mapping[str, str]) -> None:
        self._run.summary.update({**numbers, **texts})

    def end(self, how: str) -> None:
        self._run.finish(exit_code=0 if how == "finished" else 1)


class MLflow:
    """MLflow."""

    def begin(self, name: str, settings: Mapping[str, Any], known: str) -> str:
        import mlflow
        from mlflow.tracking import MlflowClient

        self._client: Any = MlflowClient()
        if known:
            self._id = known
            self._client.update_run(known, status="RUNNING")
            return known
        wanted = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        experiment = mlflow.set_experiment(wanted)
        made = self._client.create_run(experiment.experiment_id, run_name=name)
        self._id = str(made.info.run_id)
        for key, value in settings.items():
            self._client.log_param(self._id, key, str(value)[:500])
        return self._id

    def row(self, step: int, split: str, numbers: Numbers) -> None:
        for name, number in numbers.items():
            self._client.log_metric(self._id, _plain(f"{split}/{name}"), number, step=step)

    def result(self, numbers: Numbers, texts: Mapping[str, str]) -> None:
        for name, number in numbers.items():
            self._client.log_metric(self._id, _plain(f"result/{name}"), number)
        for name, text in texts.items():
            self._client.set_tag(self._id, _plain(name), text)

    def end(self, how: str) -> None:
        status = {"finished": "FINISHED", "interrupted": "KILLED"}.get(how, "FAILED")
        self._client.set_terminated(self._id, status)


class Aim:
    """Aim."""

    def begin(self, name: str, settings: Mapping[str, Any], known: str) -> str:
        import aim

        options: dict[str, Any] = {"run_hash": known} if known else {"experiment": PROJECT}
        self._run: Any = aim.Run(
            repo=os.environ.get("AIM_REPO") or None,
            capture_terminal_logs=False,  # our own console is left alone
            system_tracking_interval=None,
            **options,
        )
        if not known:
            self._run.name = name
        self._run["settings"] = {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in settings.items()
        }
        return str(self._run.hash)

    def row(self, step: int, split: str, numbers: Numbers) -> None:
        for name, number in numbers.items():
            self._run.track(number, name=name, step=step, context={"subset": split})

    def result(self, numbers: Numbers, texts: Mapping[str, str]) -> None:
        self._run["result"] = {**numbers, **texts}

    def end(self, how: str) -> None:
        self._run["ended"] = how
        self._run.close()


TRACKERS: dict[str, Callable[[], Tracker]] = {"wandb": Wandb, "mlflow": MLflow, "aim": Aim}


def check(name: str) -> None:
    """Raises ValueError if the package of a tracker is not installed; '' for no tracker."""
    if name and name not in sys.modules and importlib.util.find_spec(name) is None:
        raise ValueError(
            f"track={name}: the package {name} is not installed. Install it, "
            f"pip install 'cnn-jax[{name}]', or leave `track` out."
        )


class Tracked:
    """The tracked run of a run: a context manager, which ends it."""

    def __init__(self, recipe: TrainingRecipe, directory: Path, *, resumed: bool):
        """Begins it, or goes on with it; does nothing if the recipe names no tracker.

        Args:
            recipe: of the run.
            directory: its directory.
            resumed: whether the run goes on from a checkpoint.
        """
        self._name, self._how = recipe.track, "interrupted"
        self._tracker: Tracker | None = None
        if not recipe.track:
            return
        settings = {f.name: getattr(recipe, f.name) for f in dataclasses.fields(recipe)}
        with self._going_on():
            tracker = TRACKERS[recipe.track]()
            known = _known(directory, recipe.track) if resumed else ""
            own = tracker.begin(directory.name, settings, known)
            self._tracker = tracker
            _keep(directory, recipe.track, own)

    def row(self, row: Mapping[str, Any]) -> None:
        """Hands a row of metrics.jsonl on."""
        with self._going_on():
            if self._tracker is not None:
                self._tracker.row(row["step"], row["split"], _numbers(row, without=("step",)))

    def result(self, content: Mapping[str, Any]) -> None:
        """Hands the content of result.json on, and notes that the run is finished."""
        self._how = "finished"
        texts = {name: text for name, text in content.items() if isinstance(text, str)}
        with self._going_on():
            if self._tracker is not None:
                self._tracker.result(_numbers(content), texts)

    def __enter__(self) -> "Tracked":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        with self._going_on():
            if self._tracker is not None:
                self._tracker.end("failed" if kind is not None else self._how)

    @contextlib.contextmanager
    def _going_on(self) -> Iterator[None]:
        """Within the block an error of the tracker ends the tracking alone, and is said."""
        try:
            yield
        except Exception as error:
            self._tracker = None
            said = f"{type(error).__name__}: {error}".strip().partition("\n")[0]
            _log.warning(
                "track=%s fails: %s. The run goes on without it; its rows are in metrics.jsonl.",
                self._name,
                said,
            )


def _numbers(values: Mapping[str, Any], without: tuple[str, ...] = ()) -> dict[str, float]:
    """Those that are finite numbers: trackers do not all take others."""
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, (int, float)) and math.isfinite(value) and name not in without
    }


def _plain(name: str) -> str:
    """The name without characters that MLflow refuses, as those of a class may be."""
    return re.sub(r"[^/\w.\- :]", "_", name)


def _known(directory: Path, tracker: str) -> str:
    """The name of the tracked run of an earlier attempt; '' if there is none."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return str(json.loads((directory / FILE).read_text()).get(tracker, ""))
    return ""


def _keep(directory: Path, tracker: str, name: str) -> None:
    (directory / FILE).write_text(json.dumps({tracker: name}) + "\n")
