"""Small scenes with several digits, and what a network is to say of them: pixels and boxes."""

import numpy as np

from cnn_jax.typing import HostBatch
from experiments.concepts.measuring.data import on_canvas

SIDE, DIGIT = 32, 8  # pixels
ALONE = SIDE // 2  # side of an image with a single digit
STRIDE = 4  # pixels from one cell of the coarse map to the next
CELLS = SIDE // STRIDE
LEAST, MOST = 2, 5  # digits in a scene
INK = 0.25  # brightness from which a pixel belongs to its digit
GRAIN = 0.15  # brightest grey of the background
BACKGROUND = 0  # class of a pixel; the digit d is d + 1


def scenes(data: HostBatch, count: int, *, seed: int) -> HostBatch:
    """Scenes of LEAST to MOST digits that do not touch, on a grainy background.

    Returns:
        image: float32 [N, 32, 32, 1] in 0..1.
        label: int32 [N, 32, 32], the class of each pixel.
        cells: int32 [N, 8, 8], the class of the box that the middle of each cell lies in.
        sides: float32 [N, 8, 8, 4], pixels from there to the box's left, top, right and bottom.
        truth: float32 [N, MOST, 6]: left, top, right, bottom, 0 and the digit; padded with -1.
        place: int32 [N, MOST, 2], first row and column of each digit; padded with -1.
    """
    rng = np.random.default_rng(seed)
    image = (GRAIN * rng.random((count, SIDE, SIDE))).astype(np.float32)
    label = np.zeros((count, SIDE, SIDE), np.int32)
    truth = np.full((count, MOST, 6), -1, np.float32)
    place = np.full((count, MOST, 2), -1, np.int32)
    for i in range(count):
        wanted, found = rng.integers(LEAST, MOST + 1), 0
        for top, left in rng.integers(0, SIDE - DIGIT + 1, (50, 2)):
            if found == wanted:
                break
            if any((abs(place[i, k] - (top, left)) <= DIGIT).all() for k in range(found)):
                continue  # it would touch another
            which = rng.integers(len(data["label"]))
            digit, name = data["image"][which, ..., 0], int(data["label"][which])
            field = (i, slice(top, top + DIGIT), slice(left, left + DIGIT))
            image[field] = np.maximum(image[field], digit)
            label[field] = np.where(digit > INK, name + 1, BACKGROUND)
            rows, columns = np.nonzero(digit > INK)
            box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            truth[i, found] = *np.add(box, (left, top, left, top)), 0, name
            place[i, found] = top, left
            found += 1
    cells, sides = _cells(truth)
    return {"image": image[..., None], "label": label, "cells": cells, "sides": sides,
            "truth": truth, "place": place}  # fmt: skip


def single(data: HostBatch, *, seed: int) -> HostBatch:
    """One digit anywhere on each image of 16x16, on the background of scenes."""
    placed = on_canvas(data, ALONE, seed=seed)
    grain = GRAIN * np.random.default_rng(seed).random(placed["image"].shape)
    image = np.maximum(placed["image"], grain.astype(np.float32))
    return {"image": image, "label": placed["label"]}


def middles() -> np.ndarray:
    """Places of the cells' middles in pixels, [8, 8, 2] as x and y."""
    along = STRIDE * np.arange(CELLS, dtype=np.float32) + STRIDE / 2
    return np.stack(np.meshgrid(along, along), -1)


def _cells(truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.moveaxis(middles(), -1, 0)
    cells = np.zeros((len(truth), CELLS, CELLS), np.int32)
    sides = np.zeros((len(truth), CELLS, CELLS, 4), np.float32)
    for i, k in zip(*np.nonzero(truth[..., 5] >= 0), strict=True):
        left, top, right, bottom, _, name = truth[i, k]
        inside = (x > left) & (x < right) & (y > top) & (y < bottom)
        cells[i][inside] = name + 1
        sides[i][inside] = np.stack([x - left, y - top, right - x, bottom - y], -1)[inside]
    return cells, sides
