"""Sources made of a few pictures, for the tests of the data."""

import io

import numpy as np
from PIL import Image

from cnn_jax.data import Source


class ListRecords:
    """Records in a list."""

    def __init__(self, records):
        self.records = records

    def __len__(self):
        return len(self.records)

    def __getitems__(self, indices):
        return [self.records[i] for i in indices]

    def describe(self, index):
        return f"picture {index}"


def encode(pixels: np.ndarray, **options) -> bytes:
    """Pixels as PNG, or whatever `format` says."""
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, **{"format": "PNG", **options})
    return encoded.getvalue()


def make_source(n=10, shape=(4, 5, 3), corrupt=(), skip_corrupt=False, fixed_size=True) -> Source:
    """n pictures; picture i has the label i, and i in the first pixel. Some do not decode."""
    images = np.random.default_rng(0).integers(0, 256, (n, *shape), np.uint8)
    images[:, 0, 0] = np.arange(n)[:, None] % 256
    records = [
        {"image": encode(im[..., 0] if shape[-1] == 1 else im), "label": i}
        for i, im in enumerate(images)
    ]
    for i in corrupt:
        records[i] = {"image": records[i]["image"][:40], "label": i}
    return Source(
        name="pictures",
        split="train",
        records=ListRecords(records),
        class_names=tuple(map(str, range(n))),
        image_shape=shape if fixed_size else (None, None, shape[-1]),
        skip_corrupt=skip_corrupt,
    )
