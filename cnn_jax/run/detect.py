"""Detects objects in images of any size."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax import boxes as box_ops
from cnn_jax.data.loaders.boxes import LoadBoxes
from cnn_jax.run import inference, inputs
from cnn_jax.run.facts import Facts
from cnn_jax.typing import Detections

Detect = Callable[[np.ndarray], Detections]  # images uint8 [B, *frame, C] -> [B, M] detections


class Found(NamedTuple):
    """The objects found in an image, best first.

    Attributes:
        boxes: float32 [n, 4], (left, top, right, bottom) in pixels of the image.
        scores: float32 [n].
        labels: int32 [n].
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


def make_detect(model: Any, variables: Any, facts: Facts) -> Detect:
    """The compiled network of a run, with normalisation before it and suppression after it."""
    mean, std = (np.asarray(values, np.float32) for values in (facts.mean, facts.std))
    height, width, _ = facts.image_shape

    def detect(variables, image):
        x = (jnp.asarray(image, jnp.float32) / 255 - mean) / std
        return model.detect(model.apply(variables, x, train=False), (height, width))

    return inference.compiled(detect, variables)


def find(detect: Detect, image: Any, facts: Facts, *, threshold: float) -> Found:
    """Finds objects in an image, which is fitted to the network's input as in training.

    Args:
        detect: see `make_detect`.
        image, facts, threshold: see `load` and `found_in`.

    Raises:
        ValueError: it is no image or cannot be read, or the threshold is none.
    """
    check_threshold(threshold)
    loaded = load(image, facts)
    return found_in(first(detect(loaded["image"][None]), 1)[0], loaded, threshold=threshold)


def check_threshold(threshold: float) -> None:
    """Raises ValueError for one outside 0..1."""
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold={threshold}: it must be in [0, 1].")


def first(found: Detections, count: int) -> list[Detections]:
    """The detections of each of the first images of a batch, on the host."""
    host = jax.device_get(found)
    return [Detections(*(leaf[i] for leaf in host)) for i in range(count)]


def load(image: Any, facts: Facts) -> dict[str, np.ndarray]:
    """An image fitted to the network's input as in training, by `LoadBoxes`.

    Args:
        image: an image of any size; see `cnn_jax.run.inputs.stored`.
        facts: facts of the run.

    Raises:
        ValueError: it is no image or cannot be read.
    """
    *frame, channels = facts.image_shape
    loader = LoadBoxes(
        channels=channels,
        num_classes=facts.num_classes,
        size=(frame[0], frame[1]),
        capacity=1,
        fit=facts.fit,
        fill=tuple(round(255 * m) for m in facts.mean),
        upright=True,
        rule=facts.pixels,
    )
    nothing = {"boxes": np.zeros((0, 4)), "labels": np.zeros(0, int), "crowd": np.zeros(0, bool)}
    record = {"image": inputs.stored(image), **nothing}
    with inputs.reading(image):
        return loader(record, None)


def found_in(found: Detections, loaded: Mapping[str, np.ndarray], *, threshold: float) -> Found:
    """The objects in an image, of what the network found in its input.

    Args:
        found: of this image: boxes [M, 4], scores [M], labels [M].
        loaded: result of `load`.
        threshold: the lowest score to keep, in 0..1.
    """
    scores, labels = np.asarray(found.scores), np.asarray(found.labels)
    good = (labels >= 0) & (scores >= threshold)
    height, width = loaded["extent"]
    boxes = np.clip(np.asarray(found.boxes)[good], 0, [width, height, width, height])
    boxes = boxes / np.tile(loaded["factor"], 2)
    whole = np.asarray(box_ops.is_proper(boxes))  # a box may lie entirely in the padding
    return Found(boxes[whole], scores[good][whole], labels[good][whole])
