"""What `make_shown` gives is what the network is given by the training step."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_jax.tasks import classification
from cnn_jax.train import state, step

BATCH = 8


class Remembers(nn.Module):
    """Keeps its input among its variables, and is a linear layer otherwise."""

    @nn.compact
    def __call__(self, x, *, train):
        seen = self.variable("seen", "image", jnp.zeros, x.shape)
        if train:
            seen.value = x
        return nn.Dense(3, name="head")(x.mean((1, 2)))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_network_is_given_what_is_shown(accumulate):
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.integers(0, 256, (BATCH, 6, 6, 1), np.uint8),
        "label": rng.integers(0, 3, BATCH).astype(np.int32),
        "mask": np.ones(BATCH, np.float32),
    }
    augment = classification.make_augment(
        classification.make_prepare((0.5,), (0.25,)),
        num_classes=3,
        augment="flip",
        mixup=1.0,
    )
    model = Remembers()
    shape = jax.ShapeDtypeStruct((BATCH // accumulate, 6, 6, 1), np.float32)
    variables = state.init_variables(model, shape, seed=0)
    tx = optax.sgd(0.1)
    task = classification.classification(3)
    options = {"seed": 7, "augment": augment, "accumulate": accumulate}
    train = jax.jit(step.make_train_step(model, task, tx, **options))
    shown = jax.jit(step.make_shown(augment, seed=7, accumulate=accumulate))
    now = state.state_from(variables, tx, ema=False)
    images = []
    for at in range(2):
        now, _ = train(now, batch)
        seen = np.asarray(now.model_state["seen"]["image"])
        images.append(np.asarray(shown(at, batch)["image"]))
        # of several microbatches the last is remembered
        np.testing.assert_allclose(seen, images[-1][accumulate - 1 :: accumulate], atol=1e-5)
    assert np.abs(images[0] - images[1]).max() > 0.1
