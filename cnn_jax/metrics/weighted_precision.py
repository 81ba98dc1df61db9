"""COCO's average precision of a set in which images count more than once, or not at all.

pycocotools matches detections with objects once; what follows is sums over images.
"""

from typing import NamedTuple

import numpy as np

from cnn_jax.metrics import average_precision

_RECALLS = np.linspace(0, 1, 101)


class Outcome(NamedTuple):
    """The detections of one class, the best first, and its objects.

    Attributes:
        image: int [D], the image of each detection.
        right: bool [T, D], whether it found an object, at each threshold of the IoU.
        counts: bool [T, D]; False for one of a crowd.
        objects: int [images], the objects of the class in each.
    """

    image: np.ndarray
    right: np.ndarray
    counts: np.ndarray
    objects: np.ndarray


def outcomes(detections: np.ndarray, truth: np.ndarray, classes: int) -> list[Outcome]:
    """The outcome of each class.

    Args:
        detections, truth: see `cnn_jax.metrics.average_precision`.
        classes: K.
    """
    evaluation = average_precision.run(detections, truth, classes)
    images = len(truth)
    if evaluation is None:
        none = np.zeros((10, 0), bool)
        return [Outcome(np.zeros(0, int), none, none, np.zeros(images, int))] * classes
    parameters = evaluation.params
    areas, most = len(parameters.areaRng), parameters.maxDets[-1]
    found = []
    for k in range(classes):
        start = k * areas * images  # of all sizes
        scores, right, counts, image = [], [], [], []
        objects = np.zeros(images, int)
        for i, each in enumerate(evaluation.evalImgs[start : start + images]):
            if each is None:
                continue
            objects[i] = int((np.asarray(each["gtIgnore"]) == 0).sum())
            scores.append(np.asarray(each["dtScores"][:most], float))
            right.append(np.asarray(each["dtMatches"])[:, :most] > 0)
            counts.append(np.asarray(each["dtIgnore"])[:, :most] == 0)
            image.append(np.full(len(scores[-1]), i))
        if not image:
            none = np.zeros((len(parameters.iouThrs), 0), bool)
            found.append(Outcome(np.zeros(0, int), none, none, objects))
            continue
        order = np.argsort(-np.concatenate(scores), kind="mergesort")  # as pycocotools sorts
        found.append(
            Outcome(
                np.concatenate(image)[order],
                np.concatenate(right, 1)[:, order],
                np.concatenate(counts, 1)[:, order],
                objects,
            )
        )
    return found


def by_class(found: list[Outcome], weights: np.ndarray) -> dict[str, np.ndarray]:
    """`ap`, `ap50`, `ap75` and `recall100` of each class, float [K]; nan without objects.

    Args:
        found: see `outcomes`.
        weights: float [images], how often each image counts.
    """
    rows = [_of_class(each, weights) for each in found]
    precision = np.array([row[0] for row in rows])  # [K, T]
    return {
        "ap": precision.mean(1),
        "ap50": precision[:, 0],
        "ap75": precision[:, 5],
        "recall100": np.array([row[1] for row in rows]).mean(1),
    }


def means(table: dict[str, np.ndarray]) -> dict[str, float]:
    """The mean of each figure over the classes that have objects."""
    known = ~np.isnan(table["ap"])
    if not known.any():
        return dict.fromkeys(table, float("nan"))
    return {name: float(values[known].mean()) for name, values in table.items()}


def _of_class(each: Outcome, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(average precision, recall) at each threshold."""
    objects = float(each.objects @ weights)
    thresholds = len(each.right)
    if not objects:
        return (np.full(thresholds, np.nan),) * 2
    own = weights[each.image] * each.counts
    hits, seen = np.cumsum(own * each.right, 1), np.cumsum(own, 1)
    recall = hits / objects
    with np.errstate(invalid="ignore"):
        precision = np.nan_to_num(hits / (seen + np.spacing(1)))
    best = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
    average = np.zeros(thresholds)
    for t in range(thresholds):
        place = np.searchsorted(recall[t], _RECALLS, side="left")
        padded = np.append(best[t], 0.0)
        average[t] = padded[np.minimum(place, best.shape[1])].mean()
    return average, recall[:, -1] if recall.shape[1] else np.zeros(thresholds)
