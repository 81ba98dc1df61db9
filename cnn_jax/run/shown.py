"""What the network of a run is shown: examples of a training step, and of the evaluation."""

from typing import Any

import jax
import numpy as np

from cnn_jax import data
from cnn_jax.analysis.look.contents import Example, Sight
from cnn_jax.run import sights
from cnn_jax.run.experiment import Experiment
from cnn_jax.run.recipe import TrainingRecipe
from cnn_jax.train.step import make_shown


def trained(
    recipe: TrainingRecipe, experiment: Experiment, source: data.Source, step: int, examples: int
) -> tuple[list[Example], float]:
    """The first examples of a training step, and the share of their values outside 0..1."""
    batch = dict(experiment.train[step])
    shown = make_shown(experiment.augment, seed=recipe.seed, accumulate=recipe.accumulate)
    after = jax.device_get(jax.jit(shown)(step, batch))
    indices = experiment.train.indices(step)
    found = []
    for row in range(min(examples, recipe.batch_size)):
        index = int(indices[row])
        while index in experiment.train.corrupt:  # the next one took its place
            index = (index + 1) % len(source)
        found.append(_example(experiment, source, index, batch, after, row))
    return found, _outside(after["image"][:examples], experiment)


def first_of_step(
    recipe: TrainingRecipe, experiment: Experiment, step: int, examples: int
) -> list[Sight]:
    """The first examples of a training step of this process, as the network is shown them.

    What augmentation joins lies within four neighbours of a microbatch, so that these few rows,
    and no others, are augmented.
    """
    batch, apart = dict(experiment.train[step]), 4 * recipe.accumulate
    rows = {name: value[: -(-examples // apart) * apart] for name, value in batch.items()}
    shown = jax.jit(make_shown(experiment.augment, seed=recipe.seed, accumulate=recipe.accumulate))
    # run once: on a CPU compiling takes most of the time, and half of it without optimisations
    quickly: Any = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    after = jax.device_get(shown.lower(step, rows).compile(compiler_options=quickly)(step, rows))
    facts = experiment.facts
    statistics = (facts.mean, facts.std) if len(facts.mean) else None
    return [
        sights.of_row({n: value[i] for n, value in after.items()}, facts.class_names, statistics)
        for i in range(min(examples, len(after["image"])))
    ]


def evaluated(experiment: Experiment, source: data.Source, examples: int) -> list[Example]:
    """Examples of the first evaluation batch, evenly spaced over it."""
    batch = dict(experiment.test()[0])
    after = jax.device_get(jax.jit(experiment.prepare)(batch))
    rows = np.flatnonzero(batch["mask"])
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(examples, len(rows))).astype(int))]
    return [_example(experiment, source, int(i), batch, after, int(i)) for i in rows]


def _example(
    experiment: Experiment, source: data.Source, index: int, batch: Any, after: Any, row: int
) -> Example:
    names, facts = source.class_names, experiment.facts
    own = {name: value[row] for name, value in after.items()}
    return Example(
        sights.name_of(source, index),
        sights.stored(source, index),
        sights.of_row({name: value[row] for name, value in batch.items()}, names),
        sights.of_row(own, names, (facts.mean, facts.std)),
    )


def _outside(images: np.ndarray, experiment: Experiment) -> float:
    """The share of values that pixels cannot have; of images alone."""
    if images.ndim < 4:
        return 0.0
    unit = images * np.asarray(experiment.facts.std) + np.asarray(experiment.facts.mean)
    return float(((unit < -1e-3) | (unit > 1 + 1e-3)).mean())
