"""Runs: training a network from its recipe, evaluating it, and opening it again to predict.

from cnn_jax import run

result = run.train(run.Recipe(dataset="digits", model="resnet8"), workdir="digits")
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnn_jax.run.answers import Classified, Labelled, Segmented
    from cnn_jax.run.classification import ClassificationRecipe as Recipe
    from cnn_jax.run.comparing import compare
    from cnn_jax.run.continuing import continued
    from cnn_jax.run.detect import Found
    from cnn_jax.run.detection import DetectionRecipe
    from cnn_jax.run.evaluation import evaluate
    from cnn_jax.run.experiment import Experiment, HeldOut, initial_variables
    from cnn_jax.run.exporting import export
    from cnn_jax.run.facts import Facts
    from cnn_jax.run.looking import look
    from cnn_jax.run.multilabel import MultilabelRecipe
    from cnn_jax.run.opening import open, published, recipe_of
    from cnn_jax.run.pixel_predictor import PixelPredictor
    from cnn_jax.run.predictor import (
        BoxPredictor,
        ClassPredictor,
        LabelsPredictor,
        Predictor,
    )
    from cnn_jax.run.program import Program
    from cnn_jax.run.recipe import TrainingRecipe
    from cnn_jax.run.result import Result
    from cnn_jax.run.segmentation import SegmentationRecipe
    from cnn_jax.run.settings import setting, with_defaults
    from cnn_jax.run.tasks import TASKS, TaskRun, name_of, task_of
    from cnn_jax.run.training import train, train_experiment
    from cnn_jax.run.trials import Swept, grid, search

# Each name, and the module that is imported when it is asked for: not before, as that takes time.
_HOMES = {
    "BoxPredictor": "predictor",
    "ClassPredictor": "predictor",
    "Classified": "answers",
    "DetectionRecipe": "detection",
    "Experiment": "experiment",
    "Facts": "facts",
    "Found": "detect",
    "HeldOut": "experiment",
    "Labelled": "answers",
    "LabelsPredictor": "predictor",
    "MultilabelRecipe": "multilabel",
    "PixelPredictor": "pixel_predictor",
    "Predictor": "predictor",
    "Program": "program",
    "Recipe": "classification",
    "Result": "result",
    "SegmentationRecipe": "segmentation",
    "Segmented": "answers",
    "Swept": "trials",
    "TASKS": "tasks",
    "TaskRun": "tasks",
    "TrainingRecipe": "recipe",
    "compare": "comparing",
    "continued": "continuing",
    "evaluate": "evaluation",
    "export": "exporting",
    "grid": "trials",
    "initial_variables": "experiment",
    "look": "looking",
    "name_of": "tasks",
    "open": "opening",
    "published": "opening",
    "recipe_of": "opening",
    "search": "trials",
    "setting": "settings",
    "task_of": "tasks",
    "train": "training",
    "train_experiment": "training",
    "with_defaults": "settings",
}

__all__ = [
    "TASKS",
    "BoxPredictor",
    "ClassPredictor",
    "Classified",
    "DetectionRecipe",
    "Experiment",
    "Facts",
    "Found",
    "HeldOut",
    "Labelled",
    "LabelsPredictor",
    "MultilabelRecipe",
    "PixelPredictor",
    "Predictor",
    "Program",
    "Recipe",
    "Result",
    "SegmentationRecipe",
    "Segmented",
    "Swept",
    "TaskRun",
    "TrainingRecipe",
    "compare",
    "continued",
    "evaluate",
    "export",
    "grid",
    "initial_variables",
    "look",
    "name_of",
    "open",
    "published",
    "recipe_of",
    "search",
    "setting",
    "task_of",
    "train",
    "train_experiment",
    "with_defaults",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOMES[name]}")
    value = getattr(module, "ClassificationRecipe" if name == "Recipe" else name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
