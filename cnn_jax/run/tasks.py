"""The tasks that networks are trained for, by name."""

from collections.abc import Callable
from typing import Any, NamedTuple

from cnn_jax.registry import Registry
from cnn_jax.run import classification, detection, multilabel, segmentation
from cnn_jax.run.experiment import Experiment, HeldOut
from cnn_jax.run.facts import Facts
from cnn_jax.run.pixel_predictor import PixelPredictor
from cnn_jax.run.predictor import BoxPredictor, ClassPredictor, LabelsPredictor, Predictor
from cnn_jax.run.recipe import TrainingRecipe
from cnn_jax.typing import Network


class TaskRun(NamedTuple):
    """How a task is run.

    Attributes:
        recipe: class of its recipes.
        make_experiment: recipe -> the parts of a run. `cnn_jax.run.train` writes the name under
            which the task is registered into its facts: a task may be made of another's parts.
        predictor: class of the opened run; None for one that has the network and cannot predict.
        open_split: (recipe, split) -> the data, for `cnn_jax.run.evaluate`; None if it cannot.
        held_out: (recipe, facts, model, data) -> how these are evaluated.
    """

    recipe: type[TrainingRecipe]
    make_experiment: Callable[[Any], Experiment]
    predictor: type[Predictor] | None = None
    open_split: Callable[[Any, str], Any] | None = None
    held_out: Callable[[Any, Facts, Network, Any], HeldOut] | None = None


def _is_task(value: Any) -> bool:
    return (
        isinstance(value, TaskRun)
        and isinstance(value.recipe, type)
        and issubclass(value.recipe, TrainingRecipe)
        and callable(value.make_experiment)
    )


TASKS: Registry[TaskRun] = Registry(
    "task", wanted="a TaskRun of a recipe and a function", check=_is_task
)

_OURS: tuple[tuple[str, Any, type[TrainingRecipe], type[Predictor]], ...] = (
    ("classification", classification, classification.ClassificationRecipe, ClassPredictor),
    ("multilabel", multilabel, multilabel.MultilabelRecipe, LabelsPredictor),
    ("segmentation", segmentation, segmentation.SegmentationRecipe, PixelPredictor),
    ("detection", detection, detection.DetectionRecipe, BoxPredictor),
)
for _name, _module, _recipe, _predictor in _OURS:
    TASKS.register(
        _name,
        TaskRun(_recipe, _module.make_experiment, _predictor, _module.open_split, _module.held_out),
        origin=_module.__name__,
    )


def task_of(recipe: TrainingRecipe) -> TaskRun:
    """The task that a recipe belongs to.

    Raises:
        ValueError: it is no recipe of a registered task.
    """
    for kind in type(recipe).__mro__:
        for task in TASKS.values():
            if task.recipe is kind:
                return task
    raise ValueError(
        f"There is no task with recipes of type {type(recipe).__name__}: "
        "cnn_jax.run.TASKS.register(name, TaskRun(recipe, make_experiment)) adds one."
    )


def name_of(task: TaskRun) -> str:
    """The name under which a task is registered."""
    return next(name for name, each in TASKS.items() if each is task)
