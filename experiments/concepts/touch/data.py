"""What the networks of the page see: enlarged digits on a canvas, curves, and scenes of digits."""

import numpy as np

from cnn_jax.data import eval_batches, load_source
from cnn_jax.typing import HostBatch

SIDE = 24  # of the canvas, in pixels
DIGIT = 16  # side of an enlarged digit: twice that of the data set
LEVEL, GAIN = 0.5, 2.0  # see `inked`
SCENE = 48  # side of a scene
IN_SCENE = (1, 5)  # digits in a scene, the last excluded


def enlarging() -> np.ndarray:
    """float32 [16, 8]: each row of a digit's 16 rows as a mean of two of its 8, linearly."""
    place = (np.arange(DIGIT) + 0.5) / 2 - 0.5  # in pixels of the small one
    distance = np.abs(place[:, None] - np.arange(8))
    weights = np.maximum(0, 1 - distance)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def enlarged(digits: np.ndarray) -> np.ndarray:
    """Digits [N, 8, 8] in 0..1 as soft ones [N, 16, 16]."""
    matrix = enlarging()
    return np.einsum("ij,njk,lk->nil", matrix, digits, matrix)


def inked(soft: np.ndarray, level: float = LEVEL, gain: float = GAIN) -> np.ndarray:
    """Strokes as a pen draws them: an enlarged stroke is a soft blob, and gets an edge again."""
    return np.clip((soft - level) * gain + 0.5, 0, 1)


def small_digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [N, 8, 8] in 0..16, as the set was published, and int32 [N] labels."""
    source = load_source("digits", split)
    (batch,) = eval_batches(source, batch_size=len(source))
    small = np.rint(batch["image"][..., 0].astype(np.float32) * 16 / 255)
    return small.astype(np.uint8), np.asarray(batch["label"], np.int32)


def on_canvas(soft: np.ndarray) -> np.ndarray:
    """Enlarged digits [N, 16, 16] in the middle of canvases [N, 24, 24, 1]."""
    edge = (SIDE - DIGIT) // 2
    return np.pad(soft, ((0, 0), (edge, edge), (edge, edge)))[..., None].astype(np.float32)


def canvases(small: np.ndarray) -> np.ndarray:
    """Digits [N, 8, 8] in 0..16 as the network is tested on them: float32 [N, 24, 24, 1]."""
    return on_canvas(inked(enlarged(small.astype(np.float32) / 16)))


def curves(split: str) -> HostBatch:
    """{'image': float32 [N, 40, 1], 'label': int32 [N]} of mnist1d."""
    source = load_source("mnist1d", split)
    (batch,) = eval_batches(source, batch_size=len(source))
    return {"image": batch["image"], "label": np.asarray(batch["label"], np.int32)}


def scene(
    rng: np.random.Generator, digits: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A scene of a few digits that do not touch each other's middle.

    Args:
        rng: random generator.
        digits: float32 [N, 16, 16], with ink in 0..1.
        labels: int [N].

    Returns:
        float32 [48, 48, 1], and the class of each pixel, int32 [48, 48]: 0 for the background,
        the digit + 1 where there is ink.
    """
    image = np.zeros((SCENE, SCENE), np.float32)
    classes = np.zeros((SCENE, SCENE), np.int32)
    places: list[tuple[int, int]] = []
    wanted = int(rng.integers(*IN_SCENE))
    for _ in range(6 * wanted):
        top, left = (int(n) for n in rng.integers(-2, SCENE - DIGIT + 3, 2))
        if any(max(abs(top - y), abs(left - x)) < DIGIT - 2 for y, x in places):
            continue
        chosen = int(rng.integers(len(digits)))
        rows = slice(max(top, 0), min(top + DIGIT, SCENE))
        columns = slice(max(left, 0), min(left + DIGIT, SCENE))
        ink = digits[chosen][
            rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
        ]
        image[rows, columns] = np.maximum(image[rows, columns], ink)
        classes[rows, columns] = np.where(ink >= 0.5, labels[chosen] + 1, classes[rows, columns])
        places.append((top, left))
        if len(places) == wanted:
            break
    return image[..., None], classes
