"""Classification with several labels for an image, or none: its recipe, and what it makes."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnn_jax import data, losses
from cnn_jax.run import classification
from cnn_jax.run.experiment import Experiment, HeldOut
from cnn_jax.run.facts import Facts
from cnn_jax.run.recipe import LOSS_HELP
from cnn_jax.run.settings import setting, with_defaults
from cnn_jax.tasks import multilabel as tasks
from cnn_jax.typing import Network, Observed, PyTree

WANTED = (
    "npz:PATH with labels [N, K] of 0 and 1, as MedMNIST's chest; or csv:PATH with several labels "
    "in a cell, 'cat|dog', or a column of 0 and 1 for each class"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
@with_defaults(label_smoothing=0.0)
class MultilabelRecipe(classification.ClassificationRecipe):
    """The settings of classification with several labels for an image."""

    dataset: str = setting("", f"Data set: {WANTED}.")
    loss: str | Mapping[str, float] = setting(
        "binary_cross_entropy", LOSS_HELP, read=losses.to_text
    )
    threshold: float = setting(
        tasks.THRESHOLD, "Probability from which on a label is predicted.", least=0, below=1
    )


def make_experiment(recipe: MultilabelRecipe) -> Experiment:
    """The parts of a run that the recipe describes."""
    if not recipe.dataset:
        raise ValueError(f"dataset='': wanted {WANTED}.")
    if recipe.class_weights != "none":
        raise ValueError(
            f"class_weights={recipe.class_weights}: they weigh images by their one class, and here "
            "an image has several. Leave them out."
        )
    kind = classification.Kind("multilabel", open_split, held_out, _draw, tasks.BEST)
    return classification.make_of_kind(recipe, kind)


def open_split(recipe: MultilabelRecipe, split: str) -> data.Source:
    """A split of the recipe's data set."""
    return data.load_source(
        recipe.dataset,
        split,
        multilabel=True,
        data_dir=recipe.data_dir or None,
        skip_corrupt=recipe.skip_corrupt,
        channels=recipe.channels or None,
    )


def held_out(
    recipe: MultilabelRecipe, facts: Facts, model: Network, source: data.Source
) -> HeldOut:
    """How examples that were not trained on are evaluated."""
    task = tasks.multilabel(
        facts.class_names, label_smoothing=recipe.label_smoothing, loss=recipe.loss
    )
    return classification.held_out(recipe, facts, model, source)._replace(task=task)


def _draw(
    held: HeldOut, facts: Facts, workdir: Path, observed: Observed, variables: PyTree, predict: Any
) -> None:
    from cnn_jax.analysis import figures  # late: Matplotlib

    figures.first_filters(variables["params"], workdir / "filters.png")
