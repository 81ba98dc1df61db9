"""The two small sets of the lesson: digits of 8x8 pixels, and mnist1d, curves of 40 numbers."""

import numpy as np

from cnn_jax.data import eval_batches, load_source
from cnn_jax.typing import HostBatch


def mnist1d(split: str, *, shuffled: bool = False) -> HostBatch:
    """{'image': float32 [N, 40, 1], 'label'} of a split."""
    return _everything("mnist1d_shuffled" if shuffled else "mnist1d", split)


def digits(split: str) -> HostBatch:
    """{'image': float32 [N, 8, 8, 1] in 0..1, 'label'} of a split."""
    data = dict(_everything("digits", split))
    return {**data, "image": data["image"].astype(np.float32) / 255}


def _everything(name: str, split: str) -> HostBatch:
    source = load_source(name, split)
    (batch,) = eval_batches(source, batch_size=len(source))
    return {"image": batch["image"], "label": batch["label"]}


def subset(data: HostBatch, examples: int) -> HostBatch:
    """The first `examples` of a set, which is already shuffled."""
    return {name: leaf[:examples] for name, leaf in data.items()}


def on_canvas(data: HostBatch, side: int, *, seed: int | None = None) -> HostBatch:
    """Digits [N, 8, 8, 1] on black images [N, side, side, 1], centred or placed by `seed`.

    Adds 'place' [N, 2], the first row and column of each digit.
    """
    images = data["image"]
    count, size = images.shape[:2]
    place = np.full((count, 2), (side - size) // 2)
    if seed is not None:
        place = np.random.default_rng(seed).integers(0, side - size + 1, (count, 2))
    canvas = np.zeros((count, side, side, 1), np.float32)
    for picture, image, (top, left) in zip(canvas, images, place, strict=True):
        picture[top : top + size, left : left + size] = image
    return {"image": canvas, "label": data["label"], "place": place}
