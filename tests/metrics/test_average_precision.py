"""The COCO figures against pycocotools fed by hand and against loops; VOC's against the paper's."""

import json
from fractions import Fraction

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cnn_jax.metrics import average_precision

K = 4
NAMES = [f"c{k}" for k in range(K)]


def random_case(seed, *, images=9, most=7, found=12, crowds=0.0, ties=False, absent=()):
    """Truth [B, N, 6] and detections [B, M, 6], many near an object; some images empty."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((images, most, 6), np.float32)
    detections = np.zeros((images, found, 6), np.float32)
    truth[..., 5] = detections[..., 5] = -1
    for b in range(images):
        n = 0 if b == 2 else rng.integers(0, most + 1)
        corner, sides = rng.uniform(0, 150, (n, 2)), rng.uniform(4, 140, (n, 2))
        truth[b, :n, :4] = np.concatenate([corner, corner + sides], 1)
        truth[b, :n, 4] = rng.random(n) < crowds
        truth[b, :n, 5] = rng.choice([k for k in range(K) if k not in absent], n)
        m = 0 if b == 4 else rng.integers(0, found + 1)
        for j in range(m):
            box = rng.uniform(0, 150, 4)
            box[2:] = box[:2] + rng.uniform(4, 140, 2)
            label = rng.integers(0, K)
            if n and rng.random() < 0.7:
                i = rng.integers(n)
                box = truth[b, i, :4] + rng.normal(0, 5, 4)
                label = truth[b, i, 5] if rng.random() < 0.8 else label
            detections[b, j] = *box, rng.uniform(0.05, 1), label
        if ties:
            detections[b, :m, 4] = np.round(detections[b, :m, 4] * 4 + 1) / 8
    return detections, truth


def by_pycocotools(detections, truth, folder):
    """The twelve figures by the way a user of pycocotools goes: two JSON files."""
    annotations, results = [], []
    for b in range(len(truth)):
        for left, top, right, bottom, crowd, label in truth[b].astype(float).tolist():
            if label >= 0:
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": 100 + b,
                        "category_id": 1 + int(label),
                        "bbox": [left, top, right - left, bottom - top],
                        "area": (right - left) * (bottom - top),
                        "iscrowd": int(crowd),
                    }
                )
        for left, top, right, bottom, score, label in detections[b].astype(float).tolist():
            if label >= 0:
                results.append(
                    {
                        "image_id": 100 + b,
                        "category_id": 1 + int(label),
                        "bbox": [left, top, right - left, bottom - top],
                        "score": score,
                    }
                )
    truth_file, result_file = folder / "truth.json", folder / "results.json"
    truth_file.write_text(
        json.dumps(
            {
                "info": {},
                "images": [{"id": 100 + b} for b in range(len(truth))],
                "categories": [{"id": 1 + k, "name": name} for k, name in enumerate(NAMES)],
                "annotations": annotations,
            }
        )
    )
    result_file.write_text(json.dumps(results))
    ours = COCO(truth_file)
    evaluation = COCOeval(ours, ours.loadRes(str(result_file)), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"crowds": 0.3},
        {"ties": True},
        {"ties": True, "crowds": 0.3, "found": 40},
        {"absent": (1, 3)},
        {"images": 40, "most": 3, "found": 130},  # more than the hundred that count
    ],
    ids=lambda options: "-".join(options) or "plain",
)
def test_every_figure_is_that_of_pycocotools(options, tmp_path):
    for seed in range(3):
        detections, truth = random_case(seed, **options)
        expected = by_pycocotools(detections, truth, tmp_path)
        figures = average_precision.evaluate(detections, truth, NAMES)
        assert figures["ap50"] > 0.05
        for name, index in average_precision.FIGURES.items():
            if expected[index] > -1:
                assert figures[name] == pytest.approx(expected[index], abs=1e-12), name
            else:
                assert name not in figures
        for k, name in enumerate(NAMES):
            assert (f"ap/{name}" in figures) == bool(
                ((truth[..., 5] == k) & (truth[..., 4] == 0)).any()
            )
        present = [figures[f"ap/{name}"] for name in NAMES if f"ap/{name}" in figures]
        assert np.mean(present) == pytest.approx(figures["ap"], abs=1e-9)


def test_cases_that_can_be_reckoned_by_hand():
    truth = np.array([[[0, 0, 10, 10, 0, 0], [20, 0, 30, 10, 0, 0]]], np.float32)
    exact = np.array([[[0, 0, 10, 10, 0.9, 0], [20, 0, 30, 10, 0.8, 0]]], np.float32)
    assert average_precision.evaluate(exact, truth, NAMES)["ap"] == pytest.approx(1)
    # one of two found: precision 1 at the recalls 0, 0.01 ... 0.5, which are 51 of 101
    half = average_precision.evaluate(exact[:, :1], truth, NAMES)
    assert half["ap"] == pytest.approx(51 / 101)
    # IoU 0.8: right for the thresholds 0.5 ... 0.8, which are 7 of 10
    shifted = exact.copy()
    shifted[..., 2] -= 2
    assert average_precision.evaluate(shifted, truth, NAMES)["ap"] == pytest.approx(0.7)
    wrong = exact.copy()
    wrong[..., 5] = 1
    assert average_precision.evaluate(wrong, truth, NAMES)["ap"] == 0


def test_nothing_to_find_and_nothing_found():
    detections, truth = random_case(0)
    none = np.full_like(truth, -1)
    assert np.isnan(average_precision.evaluate(detections, none, NAMES)["ap"])
    nothing = np.zeros_like(detections)
    nothing[..., 5] = -1
    assert average_precision.evaluate(nothing, truth, NAMES)["ap"] == 0
    curves = average_precision.precision_recall(detections, none, K)
    assert len(curves) == K


def test_padding_and_the_order_of_the_images_change_nothing():
    detections, truth = random_case(1, crowds=0.2)
    figures = average_precision.evaluate(detections, truth, NAMES)
    wider = [np.pad(rows, [(0, 3), (0, 5), (0, 0)]) for rows in (detections, truth)]
    for rows, original in zip(wider, (detections, truth), strict=True):
        rows[len(original) :, :, 5] = rows[:, original.shape[1] :, 5] = -1
    assert average_precision.evaluate(*wider, NAMES) == figures
    order = np.random.default_rng(0).permutation(len(truth))
    again = average_precision.evaluate(detections[order], truth[order], NAMES)
    for name, value in figures.items():
        assert again[name] == pytest.approx(value, abs=1e-12)


def test_curves_are_those_that_the_average_is_of():
    detections, truth = random_case(3)
    curves = average_precision.precision_recall(detections, truth, K)
    figures = average_precision.evaluate(detections, truth, NAMES)
    assert np.mean([c.precision.mean() for c in curves]) == pytest.approx(figures["ap50"])
    for curve in curves:
        assert (np.diff(curve.precision) <= 0).all()


def overlap(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def voc_by_loops(detections, truth, label, eleven_points):
    """The steps of Everingham et al. 2010, section 4.2, one at a time."""
    objects = {
        b: [
            {"box": row[:4], "difficult": row[4] > 0, "used": False}
            for row in rows
            if row[5] == label
        ]
        for b, rows in enumerate(truth.astype(float))
    }
    wanted = sum(not one["difficult"] for own in objects.values() for one in own)
    found = [
        (row[4], b, row[:4])
        for b, rows in enumerate(detections.astype(float))
        for row in rows
        if row[5] == label
    ]
    found.sort(key=lambda one: -one[0])
    right, wrong, points = 0, 0, []
    for _, b, box in found:
        ranked = sorted(objects[b], key=lambda one: -overlap(box, one["box"]))
        if ranked and overlap(box, ranked[0]["box"]) >= 0.5:
            if ranked[0]["difficult"]:
                continue
            if ranked[0]["used"]:
                wrong += 1
            else:
                ranked[0]["used"] = True
                right += 1
        else:
            wrong += 1
        points.append((Fraction(right, wanted), right / (right + wrong)))
    if eleven_points:
        levels = [Fraction(i, 10) for i in range(11)]
        return sum(max([p for r, p in points if r >= t], default=0) for t in levels) / 11
    area = 0.0
    recalls = sorted({r for r, _ in points})
    for previous, recall in zip([0, *recalls], recalls, strict=False):
        area += float(recall - previous) * max(p for r, p in points if r >= recall)
    return area


@pytest.mark.parametrize("eleven_points", [False, True])
@pytest.mark.parametrize("difficult", [0.0, 0.3])
def test_voc_figures_are_those_of_loops(eleven_points, difficult):
    for seed in range(5):
        detections, truth = random_case(seed, crowds=difficult, found=20)
        ours = average_precision.voc_average_precision(
            detections, truth, K, eleven_points=eleven_points
        )
        theirs = [voc_by_loops(detections, truth, k, eleven_points) for k in range(K)]
        np.testing.assert_allclose(ours, theirs, atol=1e-9)


def test_voc_without_an_object_is_not_a_number():
    detections, truth = random_case(0, absent=(2,))
    ours = average_precision.voc_average_precision(detections, truth, K)
    assert np.isnan(ours[2])
    assert np.isfinite(ours[[0, 1, 3]]).all()
