"""Deep chains with and without shortcuts: gradients, training, and the loss of one block."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cnn_jax.tasks.classification import classification
from cnn_jax.train.replicas import accuracies, predict_replicas, train_replicas
from experiments.concepts.frame.lesson import Effort
from experiments.concepts.measuring.data import mnist1d
from experiments.concepts.measuring.deep_chains import POSITIONS, WIDTH, Chain, inside, without

SHALLOW, DEEP = 3, 12  # blocks of two layers; He 2016's figure 1 has networks of 20 and 56 layers

NOISE = 0.1  # standard deviation of what makes a neighbour of an example; the curves have about 1
PLAIN, RESIDUAL = "plain", "residual"
# shallow networks need no shortcuts: one kind is enough to compare with
DEPTHS = {PLAIN: (SHALLOW, DEEP), RESIDUAL: (DEEP,)}


def layers(blocks: int) -> int:
    return 1 + 2 * blocks


def measure(effort: Effort) -> dict[str, Any]:
    train, test = mnist1d("train"), mnist1d("test")
    chains = {PLAIN: Chain(DEEP, norm=True), RESIDUAL: Chain(DEEP, norm=True, residual=True)}
    new = {name: inside(chain, train, effort.seeds) for name, chain in chains.items()}
    loss: dict[str, dict[str, Any]] = {}
    right: dict[str, dict[str, Any]] = {}
    lost = {}
    for name, chain in chains.items():
        loss[name], right[name] = {}, {}
        for blocks in DEPTHS[name]:
            model = chain.clone(blocks=blocks)
            trained = _train(model, train, effort)
            loss[name][str(blocks)] = trained.losses[:, -20:].mean(-1)
            right[name][str(blocks)] = _right(model, trained.variables, test)
        lost[name] = right[name][str(DEEP)][:, None] - _right_without(model, trained, test)
    return {
        "first": {name: each["first"] for name, each in new.items()},
        "gradient": {name: each["gradient"] for name, each in new.items()},
        "alike": {
            name: {
                str(blocks): _likeness(chain.clone(blocks=blocks), train, effort.seeds)
                for blocks in DEPTHS[name]
            }
            for name, chain in chains.items()
        },
        "loss": loss,
        "right": right,
        "lost": lost,  # [seeds, blocks]
    }


def _train(model: Chain, data, effort: Effort):
    return train_replicas(
        model,
        classification(10),
        optax.adam,
        data,
        seeds=effort.seeds,
        steps=effort.steps(200, 2000),
        batch_size=32,
        learning_rates=[3e-3],
    )


def _right(model: Chain, variables, data) -> np.ndarray:
    return accuracies(predict_replicas(model, variables, data["image"]), data["label"])


def _right_without(model: Chain, trained, data) -> np.ndarray:
    """The accuracy without each block, [seeds, blocks]."""
    shorter = model.clone(blocks=model.blocks - 1)
    apply = jax.jit(lambda variables: shorter.apply(variables, data["image"], train=False))
    seeds = len(trained.losses)
    own = [jax.tree.map(lambda leaf, s=seed: leaf[s], trained.variables) for seed in range(seeds)]
    logits = [
        [np.asarray(apply(without(variables, block))) for block in range(model.blocks)]
        for variables in own
    ]
    return np.stack([accuracies(np.stack(each), data["label"]) for each in logits])


def _likeness(model: Chain, data, seeds: range) -> np.ndarray:
    """The mean cosine of the gradients for examples and for their neighbours, [seeds].

    The gradients are those of the first block's outputs, in new networks.
    """
    image, label = data["image"][:64], data["label"][:64]
    near = image + NOISE * np.random.default_rng(0).normal(size=image.shape).astype(np.float32)
    zeros = jnp.zeros((model.blocks, 2, len(image), POSITIONS, WIDTH))

    @jax.jit
    def of(key):
        variables = model.init(key, image[:1], train=False)

        def loss(nudges, x):
            (logits, _), _ = model.apply(
                variables, x, train=True, nudges=nudges, mutable=["batch_stats"]
            )
            return optax.softmax_cross_entropy_with_integer_labels(logits, label).sum()

        a, b = (jax.grad(loss)(zeros, x)[0, 0].reshape(len(x), -1) for x in (image, near))
        norms = jnp.linalg.norm(a, axis=1) * jnp.linalg.norm(b, axis=1)
        return ((a * b).sum(1) / norms).mean()

    return np.array([of(jax.random.key(seed)) for seed in seeds])
