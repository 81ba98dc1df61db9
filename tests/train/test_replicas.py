"""Many runs from one step: each is the run that it would be alone."""

import jax
import numpy as np
import optax
import pytest

from cnn_jax.models import create
from cnn_jax.tasks.classification import classification
from cnn_jax.train.replicas import accuracies, predict_replicas, train_replicas
from cnn_jax.train.state import create_state
from cnn_jax.train.step import make_train_step

RNG = np.random.default_rng(0)
DATA = {
    "image": RNG.normal(size=(64, 12, 1)).astype(np.float32),
    "label": RNG.integers(10, size=64).astype(np.int32),
}
MODEL = create("tcn", num_classes=10, channels=(6, 6), kernel=3, drop_rate=0.2)
TASK = classification(10)


def sgd(rate):
    return optax.sgd(rate, momentum=0.9)


def train(side_by_side, seeds=(3, 8), rates=(0.1, 0.3), steps=5):
    return train_replicas(
        MODEL, TASK, sgd, DATA,
        seeds=seeds, learning_rates=rates, steps=steps, batch_size=16, side_by_side=side_by_side,
    )  # fmt: skip


@pytest.mark.parametrize("side_by_side", [True, False])
def test_each_run_is_what_it_is_alone(side_by_side):
    together = train(side_by_side)
    assert together.losses.shape == together.grad_norms.shape == (4, 5)
    runs = [(rate, seed) for rate in (0.1, 0.3) for seed in (3, 8)]
    for i, (rate, seed) in enumerate(runs):
        alone = train(False, seeds=(seed,), rates=(rate,))
        np.testing.assert_allclose(together.losses[i], alone.losses[0], rtol=1e-5)
        for a, b in zip(
            jax.tree.leaves(together.variables), jax.tree.leaves(alone.variables), strict=True
        ):
            np.testing.assert_allclose(a[i], b[0], atol=1e-5)


@pytest.mark.slow
def test_a_run_is_that_of_the_ordinary_step():
    ours = train(False, seeds=(3,), rates=(0.1,), steps=2)
    image = jax.ShapeDtypeStruct((1, 12, 1), np.float32)
    tx = sgd(0.1)
    state = create_state(MODEL, tx, image, seed=3)
    order = np.random.Generator(np.random.Philox(key=np.array([3, 0], np.uint64))).permutation(64)
    step = make_train_step(MODEL, TASK, tx, seed=3)
    for i in range(2):
        rows = order[16 * i : 16 * i + 16]
        batch = {name: leaf[rows] for name, leaf in DATA.items()}
        state, metrics = step(state, {**batch, "mask": np.ones(16, np.float32)})
        assert ours.losses[0, i] == pytest.approx(float(metrics["loss"]), rel=1e-5)


def test_seeds_and_rates_make_different_runs():
    losses = train(False).losses
    assert len({round(float(loss), 6) for loss in losses[:, -1]}) == 4


def test_predictions_and_accuracies():
    trained = train(False)
    logits = predict_replicas(MODEL, trained.variables, DATA["image"], batch_size=24)
    assert logits.shape == (4, 64, 10)
    first = jax.tree.map(lambda leaf: leaf[1], trained.variables)
    expected = MODEL.apply(first, DATA["image"], train=False)
    np.testing.assert_allclose(logits[1], expected, atol=1e-5)
    assert accuracies(logits, DATA["label"])[1] == np.mean(expected.argmax(-1) == DATA["label"])


def test_what_cannot_be_trained():
    with pytest.raises(ValueError, match="batch_size=100, and there are 64 examples"):
        train_replicas(MODEL, TASK, sgd, DATA, seeds=(0,), steps=1, batch_size=100)
    with pytest.raises(ValueError, match="Nothing to train"):
        train(False, seeds=())
