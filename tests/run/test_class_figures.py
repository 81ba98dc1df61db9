"""Figures of each class, against scikit-learn; and what result.json has of many classes."""

import csv
import json

import numpy as np
import pytest
import sklearn.metrics

from cnn_jax import strict_json
from cnn_jax.metrics import average_precision, weighted_precision
from cnn_jax.run import class_figures, tables
from cnn_jax.typing import Observed

NAMES = ["cat", "dog", "never predicted", "not there", "bird"]


def column(rows, name):
    return np.array([row[name] for row in rows], float)


def compared(rows, scores):
    """Precision, recall, F1 and support as scikit-learn gives them."""
    for name, wanted in zip(("precision", "recall", "f1", "examples"), scores, strict=True):
        np.testing.assert_allclose(column(rows, name), wanted, rtol=1e-12, equal_nan=True)


def test_one_label_and_several_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    truth, said = rng.choice([0, 1, 2, 4], 200), rng.choice([0, 1, 4], 200)
    options = {"labels": range(5), "zero_division": np.nan}
    confusion = sklearn.metrics.confusion_matrix(truth, said, labels=range(5))
    rows = class_figures.of_confusion(confusion, NAMES)
    compared(rows, sklearn.metrics.precision_recall_fscore_support(truth, said, **options))
    assert [row["class"] for row in rows] == NAMES

    several = rng.integers(0, 2, (80, 5))
    several[:, 3] = 0
    logits = rng.normal(size=(80, 5)).astype(np.float32) + several
    logits[:, 3] = -9
    rows = class_figures.of_labels(logits, several, NAMES, 0.7)
    predicted = 1 / (1 + np.exp(-logits)) >= 0.7
    options["labels"] = None
    compared(rows, sklearn.metrics.precision_recall_fscore_support(several, predicted, **options))
    wanted = [
        sklearn.metrics.average_precision_score(several[:, k], logits[:, k])
        if several[:, k].any() else np.nan for k in range(5)
    ]  # fmt: skip
    np.testing.assert_allclose(column(rows, "average_precision"), wanted, equal_nan=True)


def test_pixels_and_boxes():
    rng = np.random.default_rng(1)
    truth, said = rng.choice([0, 1, 2, 4], (4, 9, 9)), rng.choice([0, 1, 4], (4, 9, 9))
    flat = truth.ravel(), said.ravel()
    rows = class_figures.of_pixels(sklearn.metrics.confusion_matrix(*flat, labels=range(5)), NAMES)
    iou = sklearn.metrics.jaccard_score(*flat, labels=range(5), average=None, zero_division=0)
    np.testing.assert_allclose(np.nan_to_num(column(rows, "iou")), iou)
    assert np.isnan(rows[3]["iou"])
    dice = sklearn.metrics.f1_score(*flat, labels=range(5), average=None, zero_division=np.nan)
    np.testing.assert_allclose(column(rows, "dice"), dice, equal_nan=True)

    corner = rng.uniform(0, 60, (6, 3, 2))
    objects = np.concatenate(
        [corner, corner + 20, np.zeros((6, 3, 1)), rng.choice([0, 1, 4], (6, 3, 1))], -1
    )
    found = objects + rng.normal(0, 2, objects.shape) * [1, 1, 1, 1, 0, 0]
    found[..., 4] = rng.uniform(0.1, 1, (6, 3))
    figures = average_precision.evaluate(found, objects, NAMES)
    observed = Observed({}, {"truth": objects, "detections": found})
    rows = class_figures.of_evaluation("detection", observed, figures, NAMES, None)
    outcomes = weighted_precision.outcomes(found, objects, len(NAMES))  # as evaluate has it
    table = weighted_precision.by_class(outcomes, np.ones(6))
    assert column(rows, "objects").tolist() == np.bincount(objects[..., 5].ravel().astype(int),
                                                           minlength=5).tolist()  # fmt: skip
    there = column(rows, "objects") > 0
    np.testing.assert_allclose(column(rows, "ap")[there], np.array(table["ap"])[there], rtol=1e-9)
    assert np.isnan(column(rows, "ap")[~there]).all()


@pytest.mark.parametrize(("number", "kept"), [(7, 7), (100, 100), (1000, 100)])
def test_result_json_stays_small(number, kept, tmp_path):
    counts = np.random.default_rng(2).integers(0, 9, (number, number))
    counts[5] = counts[:, 5] = 0  # not there
    names = [f"class {k}" for k in range(number)]
    rows = class_figures.of_confusion(counts, names)
    text = strict_json.dumps(class_figures.bounded(rows, "test"))
    found = json.loads(text)
    assert found["split"] == "test"
    assert found["number"] == number
    assert len(found["classes"]) == kept
    assert len(text) < 20_000
    if number == kept:
        assert [row["class"] for row in found["classes"]] == names
        assert found["classes"][5] == {
            "class": "class 5", "examples": 0, "precision": None, "recall": None, "f1": None,
        }  # fmt: skip
    else:
        assert found["listed"] == "the 100 lowest by f1; all are in classes.csv"
        worst = sorted(row["f1"] for row in rows if np.isfinite(row["f1"]))
        assert [row["f1"] for row in found["classes"]] == worst[:100]
    tables.write_rows(tmp_path / class_figures.FILE, rows)
    with (tmp_path / class_figures.FILE).open(newline="") as file:
        written = list(csv.DictReader(file))
    assert len(written) == number
    assert written[5]["recall"] == ""
