"""The same step on one device, on eight under jit, and on eight under pmap: the same numbers."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax import models
from cnn_jax.tasks import classification
from cnn_jax.train import evaluation, layout, optim, state, step

CLASSES = 10


class SmallNet(nn.Module):
    """A residual block between two convolutions, with batch norm throughout."""

    axis_name: str | None = None

    @nn.compact
    def __call__(self, x, *, train):
        def norm(name):
            return nn.BatchNorm(use_running_average=not train, axis_name=self.axis_name, name=name)

        x = nn.relu(norm("bn1")(nn.Conv(8, (3, 3), name="conv1")(x)))
        y = nn.relu(norm("bn2")(nn.Conv(8, (3, 3), name="conv2")(x)))
        x = nn.relu(x + norm("bn3")(nn.Conv(8, (3, 3), name="conv3")(y)))
        return nn.Dense(CLASSES, name="head")(x.mean((1, 2)))


def make_batch(rng, size, valid):
    """uint8 images; the last size - valid are padding and hold rubbish."""
    return {
        "image": rng.integers(0, 256, (size, 8, 8, 3), dtype=np.uint8),
        "label": rng.integers(0, CLASSES, size).astype(np.int32),
        "mask": (np.arange(size) < valid).astype(np.float32),
    }


def five_steps(placed, dtype):
    """Five steps with everything on; the last batch is ragged. Returns state, metrics, counts."""
    chex.clear_trace_counter()
    rng = np.random.default_rng(0)
    batches = [make_batch(rng, 64, 64 if i < 4 else 50) for i in range(5)]
    task = classification.classification(CLASSES, label_smoothing=0.1)
    prepare_ = classification.make_prepare((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))

    def prepare(batch):
        # cast first: what prepares the images keeps their type, and rounds to it
        return prepare_({**batch, "image": batch["image"].astype(dtype) / 255})

    augment = classification.make_augment(
        prepare, num_classes=CLASSES, augment="flip,crop:2", mixup=0.4, cutmix=1.0
    )
    model = SmallNet()
    tx = optim.make_optimizer(
        "sgd", 0.1, momentum=0.9, nesterov=True, weight_decay=1e-3, clip_norm=1.0
    )
    image = jax.ShapeDtypeStruct((64, 8, 8, 3), dtype)
    now = state.create_state(model, tx, image, seed=1, ema=True)
    now = jax.tree.map(lambda x: x.astype(dtype) if x.dtype == jnp.float32 else x, now)
    train_step = placed.compile_train(
        chex.assert_max_traces(n=1)(
            step.make_train_step(
                model,
                task,
                tx,
                seed=3,
                axis_name=placed.axis_name,
                augment=augment,
                accumulate=2,
                ema_decay=0.9,
            )
        )
    )
    eval_step = placed.compile_eval(
        chex.assert_max_traces(n=1)(
            step.make_eval_step(model, task, axis_name=placed.axis_name, prepare=prepare)
        )
    )
    now = placed.replicate(now)
    history = []
    for batch in batches:
        now, metrics = train_step(now, placed.shard(batch))
        history.append(jax.device_get(metrics))
    observed = evaluation.evaluate(eval_step, now, batches, placed)
    return jax.device_get(placed.fetch(now)), history, observed


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(jnp.float64, 1e-9), pytest.param(jnp.float32, 2e-5, marks=pytest.mark.slow)],
)
def test_layouts_agree(dtype, tolerance):
    with jax.enable_x64(dtype == jnp.float64):
        one = five_steps(layout.jit_layout(jax.devices()[:1]), dtype)
        for make in (layout.jit_layout, layout.pmap_layout):
            eight = five_steps(make(jax.devices()), dtype)
            chex.assert_trees_all_close(eight, one, rtol=tolerance, atol=tolerance)
            assert eight[0].step == 5
            for count in ("correct", "correct_top5", "confusion", "examples"):
                np.testing.assert_array_equal(eight[2].sums[count], one[2].sums[count])
    assert one[2].sums["examples"] == 4 * 64 + 50


def test_few_messages_between_replicas():
    """A batch norm sends its statistics once and their gradients once; the rest is one vector."""
    model, image = (
        models.create("resnet8", num_classes=10),
        jax.ShapeDtypeStruct((4, 8, 8, 3), "f4"),
    )
    tx = optim.make_optimizer("sgd", 0.1, momentum=0.9)
    now = jax.eval_shape(lambda: state.create_state(model, tx, image, seed=0))
    batch = {
        "image": image,
        "label": jax.ShapeDtypeStruct((4,), "i4"),
        "mask": image.update(shape=(4,)),
    }
    train_step = step.make_train_step(
        model, classification.classification(10), tx, seed=0, axis_name="data"
    )
    spread = jax.tree.map(lambda leaf: leaf.update(shape=(2, *leaf.shape)), (now, batch))
    text = jax.pmap(train_step, "data", devices=jax.devices()[:2]).lower(*spread).as_text()
    norms = sum("mean" in jax.tree_util.keystr(path)
                for path, _ in jax.tree_util.tree_leaves_with_path(now.model_state))  # fmt: skip
    weight, loss_and_gradients = 1, 1  # no kernel of this network is large
    assert norms == 7
    assert text.count("stablehlo.all_reduce") == 2 * norms + weight + loss_and_gradients
