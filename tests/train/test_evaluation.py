"""Every example counts exactly once, whatever the batch size and the number of devices."""

import jax
import numpy as np
import optax
import pytest

from cnn_jax import data, models
from cnn_jax.tasks import classification
from cnn_jax.train import evaluation, layout, state, step

COUNTS = ("correct", "correct_top5", "confusion", "examples")


@pytest.fixture(scope="module")
def setting():
    source = data.load_source("digits", "test")
    image = jax.ShapeDtypeStruct((1, 8, 8, 1), np.float32)
    model = models.create("mlp", num_classes=10)
    now = state.create_state(model, optax.sgd(0.1), image, seed=0)
    task = classification.classification(10)
    prepare = classification.make_prepare((0.5,), (0.25,))
    return source, now, step.make_eval_step(model, task, prepare=prepare), task


def observe(setting, batch_size, devices, make=layout.jit_layout):
    source, now, eval_step, _ = setting
    where = make(jax.devices()[:devices])
    batches = data.eval_batches(source, batch_size=batch_size)
    return evaluation.evaluate(where.compile_eval(eval_step), where.replicate(now), batches, where)


@pytest.fixture(scope="module")
def reference(setting):
    return observe(setting, 64, 1)


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("batch_size", [1, 7, 64, 1000])
def test_counts_do_not_depend_on_batches_or_devices(setting, reference, batch_size, devices):
    observed = observe(setting, batch_size, devices)
    for name in COUNTS:
        np.testing.assert_array_equal(observed.sums[name], reference.sums[name])
    np.testing.assert_allclose(observed.sums["loss"], reference.sums["loss"], rtol=1e-5)


def test_counts_against_numpy(setting, reference):
    """One pass over the whole set with plain numpy."""
    source, now, _, task = setting
    batch = data.eval_batches(source, batch_size=len(source))[0]
    image = (batch["image"] / 255.0 - 0.5) / 0.25
    logits = np.asarray(
        models.create("mlp", num_classes=10).apply(
            {"params": now.params}, image.astype(np.float32), train=False
        )
    )
    assert reference.sums["examples"] == len(source)
    assert reference.sums["correct"] == (logits.argmax(1) == batch["label"]).sum()
    assert reference.sums["confusion"].sum() == len(source)
    figures = task.report(reference)
    assert figures["accuracy"] == reference.sums["correct"] / len(source)


def test_giving_up_returns_nothing(setting):
    source, now, eval_step, _ = setting
    where = layout.jit_layout(jax.devices()[:1])
    batches = data.eval_batches(source, batch_size=64)
    assert evaluation.evaluate(eval_step, now, batches, where, stop=lambda: True) is None


def test_views_are_averaged(setting):
    """Test-time augmentation against numpy: the mean of the logits, not of their answers."""
    source, now, _, task = setting
    model, prepare = models.create("mlp", num_classes=10), classification.make_prepare((0.5,), (1,))
    batch = data.eval_batches(source, batch_size=100)[0]
    turned = (lambda x: x[:, :, ::-1], lambda x: x[:, ::-1])
    eval_step = step.make_eval_step(model, task, prepare=prepare, views=turned)
    sums = jax.jit(eval_step)(now, batch).sums
    image = batch["image"] / np.float32(255) - np.float32(0.5)
    each = [
        np.asarray(model.apply({"params": now.params}, view, train=False))
        for view in (image, image[:, :, ::-1], image[:, ::-1])
    ]
    logits = np.mean(each, 0)
    right = [(one.argmax(1) == batch["label"]).sum() for one in (logits, *each)]
    assert sums["correct"] == right[0]
    assert len(set(right)) > 1  # they do not all say the same
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    chance = shifted[np.arange(100), batch["label"]] / shifted.sum(1)
    np.testing.assert_allclose(sums["loss"], -np.log(chance).sum(), rtol=1e-5)
