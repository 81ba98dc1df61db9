"""Average precision by the COCO protocol, computed by pycocotools, and by that of Pascal VOC.

The rows are those of `cnn_jax.tasks.detection`: detections [B, M, 6] of (left, top, right, bottom,
score, label) and truth [B, N, 6] of (left, top, right, bottom, crowd, label), in pixels of the
images; padding has the label -1. Arrays of other shapes are a ValueError.
"""

import contextlib
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cnn_jax import shapes

# The figures that are reported, with their places among pycocotools' twelve.
FIGURES = {
    "ap": 0, "ap50": 1, "ap75": 2, "ap_small": 3, "ap_medium": 4, "ap_large": 5, "recall100": 8,
}  # fmt: skip


class Curve(NamedTuple):
    """Precision against recall of one class.

    Attributes:
        recall: float [R], ascending.
        precision: float [R].
        score: float [R], the threshold that gives this recall and precision.
    """

    recall: np.ndarray
    precision: np.ndarray
    score: np.ndarray


def evaluate(
    detections: np.ndarray, truth: np.ndarray, class_names: Sequence[str]
) -> dict[str, float]:
    """The COCO figures of a whole data set.

    Args:
        detections, truth: [B, M, 6] and [B, N, 6], see above.
        class_names: K names.

    Returns:
        FIGURES in 0..1, and `ap/<class>` for each class. A figure without objects to find is left
        out (pycocotools gives -1). If there are none at all, `ap`, `ap50` and `ap75` are nan.
    """
    evaluation = run(detections, truth, len(class_names))
    if evaluation is None:
        return dict.fromkeys(("ap", "ap50", "ap75"), float("nan"))
    figures = {name: float(evaluation.stats[i]) for name, i in FIGURES.items()}
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # [thresholds, recalls, K]
    for i, name in enumerate(class_names):
        measured = precision[:, :, i][precision[:, :, i] > -1]
        figures[f"ap/{name}"] = float(measured.mean()) if measured.size else -1.0
    return {name: value for name, value in figures.items() if value > -1}


def precision_recall(
    detections: np.ndarray, truth: np.ndarray, classes: int, *, iou: float = 0.5
) -> list[Curve]:
    """The curve of each class by pycocotools, at 101 recalls and one IoU threshold.

    As in the protocol, the precision at a recall is the best at that recall or beyond.
    """
    evaluation = run(detections, truth, classes)
    recall = np.linspace(0, 1, 101)
    if evaluation is None:
        return [Curve(recall, np.full(101, np.nan), np.full(101, np.nan))] * classes
    index = int(np.argmin(np.abs(evaluation.params.iouThrs - iou)))
    precision = evaluation.eval["precision"][index, :, :, 0, -1]
    scores = evaluation.eval["scores"][index, :, :, 0, -1]
    return [Curve(recall, precision[:, k], scores[:, k]) for k in range(classes)]


def voc_average_precision(
    detections: np.ndarray,
    truth: np.ndarray,
    classes: int,
    *,
    iou: float = 0.5,
    eleven_points: bool = False,
) -> np.ndarray:
    """Average precision of each class by the protocol of Pascal VOC: [K], nan without an object.

    A detection belongs to the object that it overlaps most. A second detection of the same object
    is an error; one of a difficult object (crowd = 1) is neither right nor wrong. Everingham et
    al. 2010, doi:10.1007/s11263-009-0275-4, section 4.2. VOC counts both border pixels of a box;
    our boxes reach from edge to edge and so contain them already.

    Args:
        detections, truth: [B, M, 6] and [B, N, 6], see above.
        classes: K.
        iou: threshold from which a detection finds an object.
        eleven_points: whether to take the mean precision at the recalls 0, 0.1 ... 1, as until
            2009, instead of the area under the curve.
    """
    _require_rows(detections, truth)
    return np.array(
        [_voc_class(detections, truth, label, iou, eleven_points) for label in range(classes)]
    )


def _voc_class(detections, truth, label: int, threshold: float, eleven_points: bool) -> float:
    objects = int(((truth[..., 5] == label) & (truth[..., 4] == 0)).sum())
    if not objects:
        return float("nan")
    image, row = np.nonzero((detections[..., 5] == label) & (detections[..., 4] > 0))
    order = np.argsort(-detections[image, row, 4], kind="stable")
    outcomes, taken = [], set()
    for i, r in zip(image[order], row[order], strict=True):
        candidates = np.flatnonzero(truth[i, :, 5] == label)
        overlap = _iou(detections[i, r, :4], truth[i, candidates, :4])
        best = int(overlap.argmax()) if len(overlap) else -1
        if best < 0 or overlap[best] < threshold:
            outcomes.append(0.0)
        elif truth[i, candidates[best], 4] == 0:
            outcomes.append(float((i, best) not in taken))
            taken.add((i, best))
    hits = np.array(outcomes)
    found = np.cumsum(hits)
    recall, precision = found / objects, found / np.arange(1, len(hits) + 1)
    if eleven_points:
        # in integers: 3 of 10 is a recall of 0.3, although 0.3 is not exact in binary
        at = [precision[10 * found >= i * objects].max(initial=0) for i in range(11)]
        return float(np.mean(at))
    best_beyond = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.diff(np.concatenate([[0], recall]))
    return float((steps * best_beyond).sum())


def _iou(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    overlap = np.maximum(sides, 0).prod(1)
    areas = (others[:, 2:] - others[:, :2]).prod(1) + (box[2:] - box[:2]).prod()
    return overlap / (areas - overlap)


def run(detections: np.ndarray, truth: np.ndarray, classes: int):
    """An accumulated and summarised COCOeval; None if there is nothing to find."""
    _require_rows(detections, truth)
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    images, objects = np.nonzero(truth[..., 5] >= 0)
    if not len(images):
        return None
    boxes = _corner_and_size(truth[images, objects, :4])
    annotations = [
        {
            "id": i + 1,  # 0 would mean "no match"
            "image_id": int(image),
            "category_id": int(row[5]),
            "bbox": box,
            "area": box[2] * box[3],
            "iscrowd": int(row[4] > 0),
        }
        for i, (image, row, box) in enumerate(
            zip(images, truth[images, objects], boxes, strict=True)
        )
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        ours = COCO()
        ours.dataset = {
            "info": {},
            "images": [{"id": i} for i in range(len(truth))],
            "categories": [{"id": k, "name": str(k)} for k in range(classes)],
            "annotations": annotations,
        }
        ours.createIndex()
        images, which = np.nonzero((detections[..., 5] >= 0) & (detections[..., 4] > 0))
        found = detections[images, which]
        if len(found):
            rows = np.concatenate(
                [
                    images[:, None],
                    np.array(_corner_and_size(found[:, :4])),
                    found[:, 4:6],
                ],
                axis=1,
            )
            theirs = ours.loadRes(rows)
        else:
            theirs = COCO()
            theirs.dataset = {**ours.dataset, "annotations": []}
            theirs.createIndex()
        evaluation = COCOeval(ours, theirs, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def _require_rows(detections: np.ndarray, truth: np.ndarray) -> None:
    what = "Average precision takes detections [B, M, 6] and truth [B, N, 6]"
    with shapes.wanted(what, detections=detections, truth=truth) as chex:
        chex.assert_shape([detections, truth], (len(truth), None, 6))


def _corner_and_size(boxes: np.ndarray) -> list[list[float]]:
    boxes = boxes.astype(np.float64)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist()
