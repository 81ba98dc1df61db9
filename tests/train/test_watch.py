"""What a training step watches beside its losses: the accuracy of its batch."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_jax.tasks.classification import classification
from cnn_jax.train import layout
from cnn_jax.train.state import state_from
from cnn_jax.train.step import make_train_step


class Linear(nn.Module):
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x, *, train):
        return nn.Dense(3, name="fc")(x)


@pytest.mark.parametrize(("accumulate", "kind"), [(1, "jit"), (3, "jit"), (1, "pmap")])
def test_the_accuracy_is_that_of_the_whole_batch(accumulate, kind):
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.normal(size=(6, 4)).astype(np.float32),
        "label": rng.integers(0, 3, 6).astype(np.int32),
        "mask": np.array([1, 1, 1, 1, 1, 0], np.float32),  # the last one is padding
    }
    model, optimiser = Linear(), optax.sgd(0.1)
    variables = model.init(jax.random.key(0), batch["image"], train=False)
    logits = np.asarray(model.apply(variables, batch["image"], train=False))
    expected = (logits.argmax(-1) == batch["label"])[:5].mean()
    devices = jax.devices()[:2] if kind == "pmap" else jax.devices()[:1]
    placed = layout.make_layout(kind, devices)
    step = make_train_step(
        model, classification(3), optimiser, seed=0, accumulate=accumulate,
        axis_name=placed.axis_name,
    )  # fmt: skip
    state = placed.replicate(state_from(variables, optimiser, ema=False))
    _, metrics = placed.compile_train(step)(state, placed.shard(batch))
    assert float(metrics["accuracy"]) == pytest.approx(expected)


def test_mixed_images_have_no_accuracy():
    task = classification(3)
    logits = jnp.eye(3)
    batch = {"label": jnp.arange(3), "mask": jnp.ones(3)}
    assert set(task.watch(logits, batch)) == {"accuracy"}
    assert not task.watch(logits, {**batch, "target": jnp.eye(3)})
