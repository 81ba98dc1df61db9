"""What runs that differ only in numbers share: the data in memory, and one compiled step.

The numbers are arguments of the step instead of constants in it. A run computes what it would
compute alone, up to rounding; one that is interrupted here and resumed here is the same to the bit.
"""

import contextlib
import copy
import dataclasses
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import jax
import numpy as np

from cnn_jax.run import fine_tuning, surveying
from cnn_jax.run import settings as texts
from cnn_jax.run.experiment import Experiment
from cnn_jax.run.layer_decay import stage_factors
from cnn_jax.run.optimisation import optimizer_of, schedule_of
from cnn_jax.run.parts import Parts, build, train_step_of
from cnn_jax.run.program import Program
from cnn_jax.run.recipe import TrainingRecipe
from cnn_jax.run.tasks import TASKS, name_of, task_of
from cnn_jax.run.training import experiment_of
from cnn_jax.typing import Batch, PyTree

# Numbers that the step takes as arguments. Whether one of the last three is 0 changes the program.
NUMBERS = (
    *("learning_rate", "weight_decay", "final_learning_rate"),
    *("momentum", "ema_decay", "clip_norm"),
)
_SWITCHES = NUMBERS[3:]
# Settings that no experiment looks at, see `TaskRun.make_experiment`: the data are opened once.
NOT_OF_DATA = frozenset(
    {
        *NUMBERS,
        *texts.NOT_KEPT,
        *("learning_rate_per", "nesterov", "optimizer", "schedule", "warmup_epochs"),
        *("step_epochs", "step_factor", "epochs", "steps", "on_nonfinite", "rollback_every"),
        *("nonfinite_limit", "layer_decay", "bias_factor", "patience", "keep", "log_every"),
        *("evaluate_every_epochs", "evaluate_every_steps", "figures", "interrupted_status"),
        *("checkpoint_every_epochs", "checkpoint_every_steps", "step_timeout", "survey"),
        "fine_tuning",  # the record of what was chosen
    }
)
KEPT = 8  # compiled steps, which differ in more than numbers
_SURVEYED = ("dataset", "data_dir", "train_split", "test_split", "validation_split", "fold")


class Shared:
    """The experiment of the last recipe and the steps made with it, for those that can use them."""

    def __init__(self, program: Program):
        """
        Args:
            program: what surrounds the runs.
        """
        self._program = program
        self._data: Any = None
        self._experiment: Experiment | None = None
        self._parts: Parts | None = None
        self._steps: dict[Any, Any] = {}
        self._surveys: dict[Any, Any] = {}
        self._held = contextlib.ExitStack()

    def __enter__(self) -> "Shared":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._held.close()

    def forget(self) -> None:
        """Lets go of what is kept, such as after running out of memory."""
        self._data = self._experiment = self._parts = None
        self._steps = {}

    def experiment(self, recipe: TrainingRecipe) -> Experiment:
        """The parts of a run, made anew only if they must be.

        Raises:
            ValueError: the data, or a setting, cannot be used.
        """
        key = data_key(recipe)
        if key != self._data or self._experiment is None:
            self.forget()
            # a run that is resumed reads no pretrained weights, and the next one may need them
            new = dataclasses.replace(recipe, workdir="")
            made, said = experiment_of(new, task_of(new)), fine_tuning.note(new)
            notes = tuple(note for note in made.notes if note != said)
            self._experiment, self._data = made._replace(notes=notes), key
        own = self._experiment
        if said := fine_tuning.note(recipe):
            own = own._replace(notes=(*own.notes, said))
        if _seeded(recipe):
            own = own._replace(train=own.train.with_seed(recipe.seed))
        return own

    def surveyed(self, recipe: TrainingRecipe, experiment: Experiment) -> Experiment:
        """The experiment with the survey of its data, which is made once for all runs.

        Raises:
            ValueError: what was found cannot be right.
        """
        key = (type(recipe), *(getattr(recipe, name, None) for name in _SURVEYED))
        if key not in self._surveys:
            made = surveying.surveyed(recipe, experiment, self._program)
            self._surveys[key] = self._held.enter_context(made)
        return experiment._replace(survey=self._surveys[key])

    def build(self, recipe: TrainingRecipe, experiment: Experiment) -> Parts:
        """As `cnn_jax.run.parts.build`, with the steps of the last recipe if they can serve."""
        parts = build(recipe, experiment)
        if recipe.layout != "jit" or recipe.mesh or data_key(recipe) != self._data:
            return parts
        structure = _structure_key(recipe)
        if self._parts is None:
            self._parts = parts
        kept = self._parts
        if structure not in self._steps:
            if len(self._steps) == KEPT:
                del self._steps[next(iter(self._steps))]
            self._steps[structure] = kept.where.compile_train(_step(recipe, experiment, parts))
        compiled = self._steps[structure]
        step = _Numbered(compiled, recipe, kept.where.replicate, parts.train_step)
        return parts._replace(where=kept.where, eval_step=kept.eval_step, train_step=step)


class _Numbered:
    """The training step of one recipe: the compiled step of many, with this one's numbers."""

    def __init__(
        self,
        compiled: Any,
        recipe: TrainingRecipe,
        place: Callable[[PyTree], PyTree],
        alone: Any,
    ):
        """
        Args:
            compiled: the step of many.
            recipe: has the numbers.
            place: `replicate` of the layout.
            alone: the step of this recipe alone.
        """
        self._compiled, self._place, self._alone = compiled, place, alone
        self._placed: PyTree = None
        self._numbers = {
            **{name: np.float32(getattr(recipe, name)) for name in NUMBERS},
            "seed": np.uint32(recipe.seed % 2**32),
        }

    def __call__(self, state: PyTree, batch: Batch) -> tuple[PyTree, Any]:
        if self._compiled is None:
            return self._alone(state, batch)
        if self._placed is None:
            self._placed = self._place(self._numbers)
        try:
            (state, self._placed), metrics = self._compiled((state, self._placed), batch)
        except jax.errors.ConcretizationTypeError:
            # an optimiser or a schedule of one's own that asks whether a number is large: it gets
            # its own program, with constants
            self._compiled = None
            return self._alone(state, batch)
        return state, metrics


def _step(recipe: TrainingRecipe, experiment: Experiment, parts: Parts) -> Any:
    """(state and numbers, batch) -> (state and numbers, metrics)."""
    stages = stage_factors(recipe, experiment)
    per_epoch = experiment.train.steps_per_epoch

    def train_step(numbered: tuple[PyTree, Mapping[str, Any]], batch: Batch) -> Any:
        state, numbers = numbered
        own = _with(recipe, numbers)
        schedule = schedule_of(own, parts.plan.steps, per_epoch)
        tx = optimizer_of(own, schedule, experiment.head, stages)
        state, metrics = train_step_of(own, experiment, parts.where, tx)(state, batch)
        return (state, numbers), metrics

    return train_step


def _with(recipe: TrainingRecipe, numbers: Mapping[str, Any]) -> TrainingRecipe:
    """The recipe with numbers that are arguments of a step; a switch that is off stays off."""
    own = copy.copy(recipe)
    for name, value in numbers.items():
        if name not in _SWITCHES or getattr(recipe, name):
            object.__setattr__(own, name, value)
    return own


def _seeded(recipe: TrainingRecipe) -> bool:
    """Whether the experiment is the same for each seed, but for the order of its batches."""
    begins = any(
        getattr(recipe, field.name)
        for field in dataclasses.fields(recipe)
        if field.name.startswith("pretrained")
    )
    return _is_ours(recipe) and not (begins or recipe.fold or recipe.continue_run)


def _is_ours(recipe: TrainingRecipe) -> bool:
    """Whether it is of a task that comes with the package: of others nothing is assumed."""
    return TASKS.origin(name_of(task_of(recipe))).startswith("cnn_jax.")


def data_key(recipe: TrainingRecipe) -> tuple:
    """What recipes have in common that share their data."""
    without = NOT_OF_DATA | ({"seed"} if _seeded(recipe) else set())
    if not _is_ours(recipe):
        without = frozenset(texts.NOT_KEPT)
    return (type(recipe), *_values(recipe, without))


def _structure_key(recipe: TrainingRecipe) -> tuple:
    without = frozenset({*NUMBERS, *texts.NOT_KEPT, "seed", "fine_tuning"})
    switches = tuple(bool(getattr(recipe, name)) for name in _SWITCHES)
    return (switches, *_values(recipe, without))


def _values(recipe: TrainingRecipe, without: frozenset[str] | set[str]) -> tuple:
    names = (field.name for field in dataclasses.fields(recipe) if field.name not in without)
    return tuple((name, getattr(recipe, name)) for name in names)
