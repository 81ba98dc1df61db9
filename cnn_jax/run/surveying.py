"""The survey of a run's data: before the training, or beside it where there are many examples.

What cannot be right ends the run before its first step, what is suspicious is said, and everything
is in survey.json of the run directory. The data themselves, their order and the metrics of the run
do not depend on it. Of several processes the first surveys alone, and the others wait for its word.
"""

import contextlib
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cnn_jax import data
from cnn_jax.data.survey.rows import THREADS, Stopped
from cnn_jax.run.experiment import Experiment, Splits
from cnn_jax.run.program import Program
from cnn_jax.run.tasks import TaskRun
from cnn_jax.train import hosts

_log = logging.getLogger(__name__)

SURVEY_FILE = "survey.json"
# Examples up to which `auto` surveys before the training: within two minutes on two cores.
BEFORE = 200_000
BESIDE_THREADS = 2  # the others are for the images of the next batches
SHOWN = 6  # sentences on the console; all are in SURVEY_FILE
NICE = 10  # how far a survey beside the training stands back


@contextlib.contextmanager
def surveyed(recipe: Any, experiment: Experiment, program: Program) -> Iterator["Surveying"]:
    """Surveys the data of an experiment before the block, or within it; at its end it ends.

    Raises:
        ValueError: what was found cannot be right; the message names the first three files.
        DataError: records cannot be read.
    """
    survey = Surveying(recipe, experiment.splits, program.say)
    survey.begin()
    try:
        yield survey
    finally:
        survey.end()


@contextlib.contextmanager
def named(recipe: Any, task: TaskRun) -> Iterator[None]:
    """Within the block, an error in the data that a survey finds too has the survey's words.

    A small set is decoded as it is opened, up to the first image that cannot be read; the survey
    says how many there are, and names three.
    """
    try:
        yield
    except data.DataError as error:
        if task.open_split is None or recipe.survey == "off":
            raise
        wrong = []
        with contextlib.suppress(ValueError, OSError):
            opened = {
                s: task.open_split(recipe, s) for s in (recipe.train_split, recipe.test_split)
            }
            splits = Splits(opened[recipe.train_split], opened[recipe.test_split])
            if sum(map(len, splits.sources().values())) <= BEFORE:
                wrong = Surveying(recipe, splits, lambda line: None).errors()
        if not wrong:
            raise
        raise data.DataError(wrong[0]) from error


class Surveying:
    """A survey of the splits of a run, which may still be going on."""

    def __init__(self, recipe: Any, splits: Any, say: Callable[[str], None]):
        """
        Args:
            recipe: of the run.
            splits: its `Splits`; None if the task does not say.
            say: prints a line.
        """
        self._recipe, self._say = recipe, say
        self._sources = {} if splits is None else splits.sources()
        self._found: dict[str, Any] | None = None
        self._directory: Path | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Surveys the data, or begins to; see `surveyed`."""
        mode = self._recipe.survey if self._sources else "off"
        many = sum(map(len, self._sources.values())) > BEFORE
        if mode == "before" or (mode == "auto" and not many):
            hosts.from_first(self._before)
        elif mode != "off" and hosts.is_first():
            self._thread = threading.Thread(target=self._beside, name="survey", daemon=True)
            self._thread.start()

    def errors(self) -> list[str]:
        """What cannot be right."""
        return [one.text for one in self._judged(self._survey(THREADS)) if one.kind == "error"]

    def keep_in(self, directory: Path) -> None:
        """Writes the survey into the run directory, now or as soon as it has ended."""
        with self._lock:
            self._directory = directory
            self._write()

    def end(self) -> None:
        """Ends a survey that is still going on."""
        self._stop.set()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join()
            if self._found is None:
                self._say("The survey of the data had not ended; survey=before waits for it.")

    def _before(self) -> None:
        found = self._survey(THREADS)
        for line in data.summary(found):
            self._say(line)
        said = self._judged(found)
        if wrong := [one.text for one in said if one.kind == "error"]:
            raise ValueError(wrong[0])
        self._warn(said)

    def _beside(self) -> None:
        """The work of the thread: it says at its end what was found, errors too."""
        if hasattr(os, "setpriority"):
            with contextlib.suppress(OSError):  # of this thread alone, and those it starts
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        try:
            found = self._survey(BESIDE_THREADS)
        except Stopped:
            return
        except Exception as error:
            _log.warning("The survey of the data ended early: %s", error)
            return
        for line in data.summary(found):
            self._say(line)
        self._warn(self._judged(found))

    def _survey(self, threads: int) -> data.Survey:
        return data.survey_splits(
            self._sources,
            dataset=getattr(self._recipe, "dataset", ""),
            threads=threads,
            stopped=self._stop.is_set,
        )

    def _judged(self, found: data.Survey) -> list[data.Finding]:
        said = data.findings(found, skip_corrupt=self._recipe.skip_corrupt)
        with self._lock:
            self._found = {**found.to_json(), "findings": [one._asdict() for one in said]}
            self._write()
        return said

    def _warn(self, said: list[data.Finding]) -> None:
        for one in said[:SHOWN]:
            _log.warning("%s", one.text)
        if len(said) > SHOWN:
            _log.warning("%d more in %s of the run", len(said) - SHOWN, SURVEY_FILE)

    def _write(self) -> None:
        if self._found is not None and self._directory is not None:
            text = json.dumps(self._found)
            (self._directory / SURVEY_FILE).write_text(text + "\n", encoding="utf-8")
