"""Anchors: the boxes that a detector's outputs are relative to. Constants, in numpy.

Each function returns the anchors of all levels in the order in which a head's outputs are
flattened: by level, then by row and column, then in the order of the table. Boxes are
(x1, y1, x2, y2) in pixels.
"""

import math
from collections.abc import Sequence

import numpy as np

# (sizes of each level), from the finest; torchvision 0.20, models/detection.
RETINANET_SIZES = tuple(  # Lin 2017, arXiv 1708.02002, section 4: three to an octave
    (x, int(x * 2 ** (1 / 3)), int(x * 2 ** (2 / 3))) for x in (32, 64, 128, 256, 512)
)
FASTER_RCNN_FPN_SIZES = ((32,), (64,), (128,), (256,), (512,))  # Lin 2017, arXiv 1612.03144, 4.1
FASTER_RCNN_MOBILENET_SIZES = ((32, 64, 128, 256, 512),) * 3
RATIOS = (0.5, 1.0, 2.0)  # height over width

# Liu 2016, arXiv 1512.02325, section 2.2; scales as shares of the image, after the Caffe model.
SSD300_RATIOS = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))
SSD300_SCALES = (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)
SSD300_STEPS = (8, 16, 32, 64, 100, 300)
SSDLITE_RATIOS = ((2, 3),) * 6  # Sandler 2018, arXiv 1801.04381, section 6.2
SSDLITE_SCALES = (*(0.2 + 0.15 * k for k in range(6)), 1.0)


def grid_anchors(
    image_size: Sequence[int],
    grids: Sequence[Sequence[int]],
    *,
    sizes: Sequence[Sequence[float]],
    ratios: Sequence[float] = RATIOS,
) -> np.ndarray:
    """Anchors of given sizes and ratios at every cell of every level.

    As in torchvision's Faster R-CNN, RetinaNet and FCOS, an anchor is centred on the corner of its
    cell (the cell's coordinates times the stride), and half of each side is rounded to a whole
    number.

    Args:
        image_size: (height, width) of the padded image, in pixels.
        grids: (rows, columns) of each level's feature map.
        sizes: for each level, the square roots of the anchors' areas, in pixels.
        ratios: height over width of the anchors.

    Returns:
        float32 [sum of rows x columns x len(ratios) x len(sizes), 4].

    Raises:
        ValueError: if there are not as many entries in `sizes` as levels.
    """
    if len(grids) != len(sizes):
        raise ValueError(
            f"grid_anchors got {len(grids)} levels and sizes for {len(sizes)}: give one entry of "
            "sizes per level."
        )
    levels = []
    for (rows, columns), level_sizes in zip(grids, sizes, strict=True):
        stretch = np.sqrt(np.asarray(ratios, np.float32))[:, None]
        edges = np.asarray(level_sizes, np.float32)
        half = np.stack([(1 / stretch * edges).ravel(), (stretch * edges).ravel()], -1) / 2
        shapes = np.round(np.concatenate([-half, half], axis=-1))  # [A, 4]
        y = np.arange(rows, dtype=np.float32) * (image_size[0] // rows)
        x = np.arange(columns, dtype=np.float32) * (image_size[1] // columns)
        centres = np.stack(np.meshgrid(x, y), axis=-1)  # [rows, columns, 2] as (x, y)
        levels.append((np.tile(centres, 2)[:, :, None] + shapes).reshape(-1, 4))
    return np.concatenate(levels).astype(np.float32)


def default_boxes(
    image_size: Sequence[int],
    grids: Sequence[Sequence[int]],
    *,
    ratios: Sequence[Sequence[float]],
    scales: Sequence[float],
    steps: Sequence[float] | None = None,
) -> np.ndarray:
    """SSD's default boxes: two squares per cell, and a wide and a tall box per ratio.

    Args:
        image_size: (height, width) in pixels.
        grids: (rows, columns) of each level's feature map.
        ratios: for each level, the ratios other than 1.
        scales: sides as fractions of the image, one per level and one more: the side of a level's
            second square is the geometric mean of its scale and the next.
        steps: pixels between the cells of each level; None divides the image evenly.

    Returns:
        float32 [sum of rows x columns x (2 + 2 len(ratios)), 4], centred on the cells.

    Raises:
        ValueError: if ratios, scales or steps do not match the number of levels.
    """
    given = {"ratios": len(ratios), "scales (besides the last)": len(scales) - 1}
    given |= {} if steps is None else {"steps": len(steps)}
    for name, number in given.items():
        if number != len(grids):
            raise ValueError(
                f"default_boxes got {len(grids)} levels and {number} {name}: give one per level."
            )
    height, width = image_size
    levels = []
    for k, (rows, columns) in enumerate(grids):
        shapes = [(scales[k],) * 2, (math.sqrt(scales[k] * scales[k + 1]),) * 2]
        for ratio in ratios[k]:
            root = math.sqrt(ratio)
            shapes += [(scales[k] * root, scales[k] / root), (scales[k] / root, scales[k] * root)]
        sides = np.clip(np.asarray(shapes, np.float32), 0, 1)  # [A, 2] as (width, height)
        down, right = (rows, columns) if steps is None else (height / steps[k], width / steps[k])
        x = (np.arange(columns, dtype=np.float32) + 0.5) / right
        y = (np.arange(rows, dtype=np.float32) + 0.5) / down
        centres = np.stack(np.meshgrid(x, y), axis=-1)[:, :, None]  # [rows, columns, 1, 2]
        boxes = np.concatenate([centres - sides / 2, centres + sides / 2], axis=-1)
        levels.append(boxes.reshape(-1, 4) * np.array([width, height, width, height], np.float32))
    return np.concatenate(levels).astype(np.float32)
