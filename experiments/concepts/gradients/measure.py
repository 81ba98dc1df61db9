"""Deep chains of convolutions: the gradient of every layer, and whether they learn."""

from typing import Any

import numpy as np
import optax

from cnn_jax.tasks.classification import classification
from cnn_jax.train.replicas import train_replicas
from experiments.concepts.frame.lesson import Effort
from experiments.concepts.measuring.data import mnist1d
from experiments.concepts.measuring.deep_chains import Chain, inside

BLOCKS = 12
FACTORS = 2 * BLOCKS  # layers between the first and the last

CHAINS: dict[str, dict[str, Any]] = {
    "sigmoid": {"act": "sigmoid", "variance": 1.0},
    "tanh": {"act": "tanh", "variance": 1.0},
    "small": {"variance": 1.0},
    "he": {},
    "large": {"variance": 4.0},
}
PREDICTED = {"small": 0.5**0.5, "he": 1.0, "large": 2**0.5}  # factors a layer
TRAINED = ("sigmoid", "he")
LARGEST_ERROR = 0.15  # of a predicted factor
LEARNT = 2.0  # a loss below this has learnt something
WIDE = 64  # channels of the networks that explain a factor beside the predicted one


def measure(effort: Effort) -> dict[str, Any]:
    data = mnist1d("train")
    chains = {
        name: inside(Chain(BLOCKS, **options), data, effort.seeds)
        for name, options in CHAINS.items()
    }
    factor = {name: _factor(each) for name, each in chains.items()}
    losses = {name: _train(Chain(BLOCKS, **CHAINS[name]), data, effort) for name in TRAINED}
    found: dict[str, Any] = {
        "signal": {name: each["signal"] for name, each in chains.items()},
        "gradient": {name: each["gradient"] for name, each in chains.items()},
        "first": {name: each["first"] for name, each in chains.items()},
        "factor": factor,
        "loss": losses,
    }
    # what explains a claim that did not hold is measured only then
    if max(errors(factor).values()) >= LARGEST_ERROR:
        found["wide"] = {
            name: _factor(inside(Chain(BLOCKS, width=WIDE, **CHAINS[name]), data, effort.seeds))
            for name in PREDICTED
        }
    if np.mean(losses["he"]) >= LEARNT:
        found["shallow"] = _train(Chain(3), data, effort)
    return found


def _factor(found: dict[str, np.ndarray]) -> np.ndarray:
    """The mean factor a layer between the last and the first, [seeds]."""
    gradient = found["gradient"]
    return (gradient[:, 0] / gradient[:, -1]) ** (1 / (gradient.shape[1] - 1))


def _train(model: Chain, data, effort: Effort) -> np.ndarray:
    trained = train_replicas(
        model,
        classification(10),
        optax.adam,
        data,
        seeds=effort.seeds,
        steps=effort.steps(200, 2000),
        batch_size=32,
        learning_rates=[3e-3],
    )
    return trained.losses[:, -20:].mean(-1)


def errors(factor) -> dict[str, float]:
    return {name: abs(np.mean(factor[name]) / p - 1) for name, p in PREDICTED.items()}
