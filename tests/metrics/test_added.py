"""Metrics by name beside those of a task."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

from cnn_jax import losses, metrics
from cnn_jax.metrics import METRICS, Metric
from cnn_jax.tasks import classification, detection, segmentation
from cnn_jax.typing import Observed

K = 4


@pytest.fixture
def register():
    """Registers metrics that are gone after the test."""
    before = set(METRICS)
    yield METRICS.register
    for name in set(METRICS) - before:
        METRICS.forget(name)


def batches(count=3, size=20):
    """Logits, labels and masks, of which the last examples are padding that holds anything."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        label = rng.integers(0, K, size)
        logits = rng.normal(size=(size, K)) + 2 * np.eye(K)[label]
        mask = np.arange(size) < size - 3
        logits[~mask] = np.nan
        yield jnp.asarray(logits, jnp.float32), {"label": jnp.asarray(label), "mask": mask * 1.0}


def figures_of(task, given):
    """What a task reports, with its sums added up over batches as evaluation does."""
    sums = {}
    observe = jax.jit(lambda logits, batch: task.observe(logits, batch).sums)
    for logits, batch in given:
        for name, value in observe(logits, batch).items():
            sums[name] = sums.get(name, 0.0) + np.asarray(value, np.float64)
    return task.report(Observed(sums, {}))


def test_against_scikit_learn_over_several_batches():
    task = metrics.with_metrics(
        classification.classification(K), "brier,calibration_error,balanced_accuracy,f1"
    )
    figures = figures_of(task, batches())
    logits, labels, masks = (
        np.concatenate(parts)
        for parts in zip(
            *((logits, batch["label"], batch["mask"]) for logits, batch in batches()), strict=True
        )
    )
    logits, labels = logits[masks > 0].astype(np.float64), labels[masks > 0]
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    found = p.argmax(1)
    assert figures["brier"] == pytest.approx(((p - np.eye(K)[labels]) ** 2).sum(1).mean(), rel=1e-5)
    assert figures["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, found))
    assert figures["f1"] == pytest.approx(f1_score(labels, found, average="macro"))
    error = 0.0
    for low in np.arange(15) / 15:
        inside = (p.max(1) > low) & (p.max(1) <= low + 1 / 15)
        error += abs((found == labels)[inside].sum() - p.max(1)[inside].sum())
    assert figures["calibration_error"] == pytest.approx(error / len(labels), abs=1e-5)
    plain = figures_of(classification.classification(K), batches())
    assert {name: figures[name] for name in plain} == plain


def test_of_pixels_without_those_to_ignore():
    label = jnp.asarray([[[0, 0, 1], [1, 1, losses.IGNORE]]])
    logits = 100.0 * jax.nn.one_hot(jnp.asarray([[[0, 1, 1], [1, 0, 2]]]), 3)
    task = metrics.with_metrics(segmentation.segmentation(list("abc")), "f1")
    figures = figures_of(task, [(logits, {"label": label, "mask": jnp.ones(1)})])
    assert figures["f1"] == pytest.approx((2 / 4 + 4 / 6) / 2)


def test_a_metric_of_ones_own(register):
    def observe(outputs, batch):
        scored = metrics.scored(outputs, batch)
        sure = jax.nn.softmax(scored.logits).max(-1)
        return {"sure": jnp.where(scored.mask > 0, sure, 0).sum(), "count": scored.mask.sum()}

    register("mine", Metric(observe, lambda sums: {"sure": sums["sure"] / sums["count"]}))
    task = metrics.with_metrics(classification.classification(K), ("mine", "brier"))
    figures = figures_of(task, batches())
    assert 1 / K < figures["mine/sure"] < 1


def test_what_is_no_metric(register):
    task = classification.classification(K)
    assert metrics.with_metrics(task, "") is task
    with pytest.raises(ValueError, match="no metric 'brire'; did you mean brier"):
        metrics.with_metrics(task, "brire")
    with pytest.raises(ValueError, match="'f1' is given twice"):
        metrics.with_metrics(task, "f1,f1")
    register("accuracy", METRICS["f1"])
    with pytest.raises(ValueError, match=f"'accuracy' \\({__name__}\\) reports 'accuracy', which"):
        figures_of(metrics.with_metrics(task, "accuracy"), batches())
    register("broken", Metric(lambda outputs, batch: outputs.nothing, float))
    with pytest.raises(ValueError, match=f"'broken' \\({__name__}\\) fails: AttributeError"):
        figures_of(metrics.with_metrics(task, "broken"), batches())
    register("number", Metric(lambda outputs, batch: outputs.sum(), float))
    with pytest.raises(ValueError, match=r"'number' .* wanted a dict of arrays"):
        figures_of(metrics.with_metrics(task, "number"), batches())


def test_boxes_have_no_label_for_each_score():
    outputs, batch = {"class_logits": jnp.zeros((1, 3, K))}, {"mask": jnp.ones(1)}
    task = detection.detection(list("abcd"), object(), size=(8, 8))._replace(
        observe=lambda outputs, batch: Observed({}, {})
    )
    with pytest.raises(ValueError, match=r"'f1' .* for classification and segmentation"):
        metrics.with_metrics(task, "f1").observe(outputs, batch)
