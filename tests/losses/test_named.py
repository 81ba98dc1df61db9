"""Losses by name: their text, their numbers, and a user's own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_jax import losses
from cnn_jax.losses import LOSSES, named, pixels
from cnn_jax.tasks import classification, segmentation
from cnn_jax.typing import Mean

K = 4


@pytest.fixture
def register():
    """Registers losses that are gone after the test."""
    before = set(LOSSES)
    yield LOSSES.register
    for name in set(LOSSES) - before:
        LOSSES.forget(name)


@pytest.mark.parametrize(
    ("given", "weights", "text"),
    [
        ("dice", {"dice": 1}, "dice"),
        ("cross_entropy+dice", {"cross_entropy": 1, "dice": 1}, "cross_entropy+dice"),
        ({"cross_entropy": 1, "dice": 1}, {"cross_entropy": 1, "dice": 1}, "cross_entropy+dice"),
        (
            "cross_entropy:1,dice:0.5",
            {"cross_entropy": 1, "dice": 0.5},
            "cross_entropy:1,dice:0.5",
        ),
        (" cross_entropy:2 + dice ", {"cross_entropy": 2, "dice": 1}, "cross_entropy:2,dice:1"),
        ({"focal": np.float32(0.25)}, {"focal": 0.25}, "focal:0.25"),
        ("cross_entropy:1,dice:1.0", {"cross_entropy": 1, "dice": 1}, "cross_entropy+dice"),
    ],
)
def test_text_and_mapping(given, weights, text):
    assert losses.parse(given) == weights
    assert losses.to_text(given) == text
    assert losses.parse(text) == weights


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "No loss is given; choose from cross_entropy, dice"),
        ({}, "No loss is given"),
        ("crossentropy", "no loss 'crossentropy'; did you mean cross_entropy"),
        ("dice+dice", "'dice' is given twice in 'dice\\+dice'"),
        ("dice:", "'dice' has the weight ''; a weight is a number above 0"),
        ("dice:0", "'dice' has the weight '0'; a weight"),
        ("dice:-1", "weight '-1'"),
        ("dice:nan", "weight 'nan'"),
        ("dice:1e999", "weight '1e999'"),
        ({"dice": True}, "weight True"),
        ({"dice": None}, "weight None"),
        ("dice+", "no loss ''"),
    ],
)
def test_what_is_no_loss(given, message):
    with pytest.raises(ValueError, match=message):
        losses.parse(given)


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(size=(6, K)) * 3, jnp.float32)
    return logits, rng.integers(0, K, 6), jnp.asarray([1, 1, 1, 1, 0, 0], jnp.float32)


def batch_of(case):
    return {"label": jnp.asarray(case[1]), "mask": case[2]}


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_default_of_classification_is_what_it_was_bit_by_bit(case, smoothing):
    logits, batch = case[0], batch_of(case)

    def before(x):  # the loss of classification before there were names
        target = jax.nn.one_hot(batch["label"], K)
        each = optax.softmax_cross_entropy(x, optax.smooth_labels(target, smoothing))
        mask = batch["mask"]
        return jnp.where(mask > 0, each * mask, 0).sum(), mask.sum()

    task = classification.classification(K, label_smoothing=smoothing)
    now = jax.jit(jax.value_and_grad(lambda x: task.loss(x, batch)["cross_entropy"].total))(logits)
    then = jax.jit(jax.value_and_grad(lambda x: before(x)[0]))(logits)
    jax.tree.map(np.testing.assert_array_equal, now, then)
    assert list(task.loss(logits, batch)) == ["cross_entropy"]


def test_binary_and_focal_against_their_formulas(case):
    logits, labels, mask = (np.asarray(x, np.float64) for x in case)
    p, t = 1 / (1 + np.exp(-logits)), np.eye(K)[labels.astype(int)]
    entropy = -(t * np.log(p) + (1 - t) * np.log(1 - p))
    right = p * t + (1 - p) * (1 - t)
    alpha = 0.25 * t + 0.75 * (1 - t)
    for name, each in {
        "binary_cross_entropy": entropy,
        "focal": alpha * (1 - right) ** 2 * entropy,
    }.items():
        task = classification.classification(K, loss=name)
        mean = task.loss(case[0], batch_of(case))[name]
        np.testing.assert_allclose(mean.total, (each.sum(1) * mask).sum(), rtol=1e-5)
        assert mean.weight == 4


def test_label_smoothing_and_mixup_reach_every_loss(case):
    logits, labels, _ = case
    soft = 0.9 * np.eye(K)[labels] + 0.1 / K
    for name in ("cross_entropy", "binary_cross_entropy", "focal"):
        smooth = classification.classification(K, loss=name, label_smoothing=0.1)
        mixed = classification.classification(K, loss=name)
        given = {**batch_of(case), "target": jnp.asarray(soft, jnp.float32)}
        np.testing.assert_allclose(
            smooth.loss(logits, batch_of(case))[name].total,
            mixed.loss(logits, given)[name].total,
            rtol=1e-6,
        )


def test_the_reported_loss_is_the_objective_without_smoothing(case):
    logits, _, _ = case
    batch = batch_of(case)
    weights = {"binary_cross_entropy": 2.0, "focal": 0.5}
    task = classification.classification(K, loss=weights, label_smoothing=0.1)
    plain = classification.classification(K, loss=weights)
    wanted = sum(mean.total / mean.weight for mean in plain.loss(logits, batch).values())
    figures = task.report(task.observe(logits, batch))
    np.testing.assert_allclose(figures["loss"], wanted, rtol=1e-6)
    assert figures["accuracy"] == classification.classification(K).report(
        classification.classification(K).observe(logits, batch)
    )["accuracy"]  # fmt: skip


def test_auxiliary_heads_have_every_loss(case):
    outputs = {"logits": case[0], "aux": case[0]}
    task = classification.classification(K, loss="cross_entropy:1,focal:0.5")
    means = task.loss(outputs, batch_of(case))
    assert set(means) == {"cross_entropy", "focal", "aux_cross_entropy", "aux_focal"}
    np.testing.assert_allclose(means["aux_focal"].total, 0.3 * means["focal"].total, rtol=1e-6)
    assert set(classification.classification(K).loss(outputs, batch_of(case))) == {
        "cross_entropy",
        "aux",
    }


def test_weights_in_segmentation():
    rng = np.random.default_rng(1)
    logits = jnp.asarray(rng.normal(size=(2, 6, 5, K)), jnp.float32)
    label = jnp.asarray(rng.choice([0, 1, 2, 3, losses.IGNORE], (2, 6, 5)))
    batch = {"label": label, "mask": jnp.ones(2)}
    names = list("abcd")
    both = segmentation.segmentation(names, loss="cross_entropy+dice").loss(logits, batch)
    half = segmentation.segmentation(names, loss={"cross_entropy": 1, "dice": 0.5})
    half = half.loss(logits, batch)
    assert both["cross_entropy"] == half["cross_entropy"]
    np.testing.assert_allclose(half["dice"].total, 0.5 * both["dice"].total, rtol=1e-6)
    assert both["cross_entropy"] == losses.pixel_cross_entropy(logits, label, mask=batch["mask"])
    assert both["dice"] == losses.dice(logits, label, mask=batch["mask"])


def test_cross_entropy_of_labels_and_of_one_hot_targets_agree():
    rng = np.random.default_rng(2)
    logits = jnp.asarray(rng.normal(size=(2, 6, 5, K)), jnp.float32)
    label = jnp.asarray(rng.choice([0, 1, 2, 3, losses.IGNORE], (2, 6, 5)))
    weight = losses.pixel_weights(label, K, mask=jnp.ones(2))
    loss = LOSSES["cross_entropy"]
    soft, hard = loss(logits, named.dense(label, logits), weight), loss(logits, label, weight)
    np.testing.assert_allclose(soft.total, hard.total, rtol=1e-6)


def test_jaccard_of_hard_predictions_is_one_minus_iou():
    label = np.array([[[0, 0, 1], [1, 1, losses.IGNORE]]])
    found = np.array([[[0, 1, 1], [1, 0, 0]]])
    logits = 100.0 * jax.nn.one_hot(found, 3)
    weight = losses.pixel_weights(label, 3, mask=jnp.ones(1))
    mean = LOSSES["jaccard"](logits, named.dense(jnp.asarray(label), logits), weight)
    np.testing.assert_allclose(mean.total / mean.weight, 1 - (1 / 3 + 2 / 4) / 2, atol=1e-6)
    assert pixels.overlap_loss(logits, jax.nn.one_hot(found, 3), weight)[0] < 1e-6


def test_an_overlap_of_whole_images_is_refused_when_the_task_is_made():
    with pytest.raises(ValueError, match=r"'dice' \(cnn_jax.losses.named\) fails for logits"):
        classification.classification(K, loss="dice")


def test_a_loss_of_ones_own(case, register):
    def poly1(logits, target, weight):
        right = (target * jax.nn.softmax(logits)).sum(-1)
        return losses.weighted_mean(optax.softmax_cross_entropy(logits, target) + 1 - right, weight)

    register("poly1", poly1)
    assert LOSSES.origin("poly1") == __name__
    mean = classification.classification(K, loss="poly1").loss(case[0], batch_of(case))["poly1"]
    assert mean.weight == 4
    logits = jnp.zeros((2, 3, 3, K))
    batch = {"label": jnp.zeros((2, 3, 3), int), "mask": jnp.ones(2)}
    mean = segmentation.segmentation(list("abcd"), loss="poly1").loss(logits, batch)["poly1"]
    np.testing.assert_allclose(mean.total / mean.weight, np.log(K) + 1 - 1 / K, rtol=1e-6)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda logits, target, weight: logits.sum(), "returned an array .*; it must return Mean"),
        (lambda logits, target, weight: Mean(logits.sum(-1), weight), r"an array \[2\] and an"),
        (lambda logits, target: 0, "TypeError"),
        (lambda logits, target, weight: logits @ logits, "fails for logits"),
    ],
)
def test_a_loss_that_cannot_be_one_is_refused_when_the_task_is_made(register, loss, message):
    register("mine", loss)
    with pytest.raises(ValueError, match=message) as caught:
        classification.classification(K, loss="mine")
    assert f"'mine' ({__name__})" in str(caught.value)
    assert "\n" not in str(caught.value)
