"""The built-in `digit_scenes`: handwritten digits scattered over cluttered images.

The 1,797 real digits of `digits` are enlarged, rotated, coloured and overlaid on darker backgrounds
of soft colours, strokes and blobs. Each scene has the labels for segmentation and detection: the
class of every pixel, the digit it belongs to, and a box around each digit. The digits of the test
scenes are those of the test split of `digits`: no digit is in both.

It is a set of TFDS like any other, prepared on first use in seconds, without TensorFlow. The
scenes are the same on every machine with the same Pillow.
"""

import io
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image, ImageDraw

from cnn_jax.data.readers.digits import SPLIT_SEED, TEST_SHARE, stratified

DIGIT_NAMES = tuple("0123456789")
CLASS_NAMES = ("background", *DIGIT_NAMES)  # classes of the mask: the digit d is class d + 1

SCENES = {"train": 2000, "test": 500}
SIZES = (64, 96, 128)  # pixels; the configurations 'digit_scenes/64' (the default), '/96', '/128'

DIGIT_PIXELS = (24, 36)  # side of the enlarged 8x8 field of a digit
MAX_TURN = 25.0  # degrees, either way: more would make 6 and 9 one class
MAX_SQUEEZE = 0.15  # largest relative stretching of one side against the other
PER_DIGIT = 36 * 36  # least pixels of the scene per digit: 3 digits in 64x64
LEAST_VISIBLE = 0.85  # fraction of a digit's pixels that later digits must leave visible
BACKGROUND, CLUTTER, INK = (20, 120), (20, 160), (110, 256)  # bounds of each channel, of 255
COLOURS = 4  # candidates for a digit's colour, of which the most contrasting is used

GRAIN = 6.0  # standard deviation of the image noise, of 255


class DigitScenes(tfds.core.GeneratorBasedBuilder):
    """2,000 training and 500 test scenes of 64x64 (or 96x96, 128x128), 1 to 3 (7, 12) digits each.

    Features:
        image: uint8 [S, S, 3].
        mask: uint8 [S, S, 1], the class of each pixel, see CLASS_NAMES.
        instances: uint8 [S, S, 1], 0 for the background and i for the i-th of `objects`.
        objects: for each digit, the box around its visible pixels as (ymin, xmin, ymax, xmax) in
            0..1, and the label 0..9.
    """

    VERSION = tfds.core.Version("2.1.0")
    RELEASE_NOTES: ClassVar = {
        "1.0.0": "2,000 training scenes and 500 test scenes in three sizes.",
        "2.1.0": "Fewer digits, lighter than their background, larger, less hidden.",
    }
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(name=str(size), description=f"Scenes of {size} pixels a side.")
        for size in SIZES
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        size = int(self.builder_config.name)
        return tfds.core.DatasetInfo(
            builder=self,
            description="Handwritten digits on cluttered backgrounds, with masks and boxes.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(size, size, 3), encoding_format="png"),
                    "mask": tfds.features.LabeledImage(
                        labels=list(CLASS_NAMES), shape=(size, size, 1), encoding_format="png"
                    ),
                    "instances": tfds.features.Image(shape=(size, size, 1), encoding_format="png"),
                    "objects": tfds.features.Sequence(
                        {
                            "bbox": tfds.features.BBoxFeature(),
                            "label": tfds.features.ClassLabel(names=list(DIGIT_NAMES)),
                        }
                    ),
                }
            ),
            homepage="https://doi.org/10.24432/C50P49",
        )

    def _split_generators(self, dl_manager):
        from sklearn.datasets import load_digits  # a second to import: only when preparing

        images, labels = load_digits(return_X_y=True)
        images = (images.reshape(-1, 8, 8) / 16).astype(np.float32)  # 0..1
        test = stratified(labels, TEST_SHARE, SPLIT_SEED)
        return {
            "train": self._generate_examples("train", images[~test], labels[~test]),
            "test": self._generate_examples("test", images[test], labels[test]),
        }

    def _generate_examples(self, split, digits, labels) -> Iterator[tuple[int, dict]]:
        size = int(self.builder_config.name)
        for index in range(SCENES[split]):
            key = (size << 40) + (list(SCENES).index(split) << 32) + index
            scene = draw_scene(np.random.Generator(np.random.Philox(key)), digits, labels, size)
            yield (
                index,
                {
                    "image": _png(scene.image),
                    "mask": _png(scene.mask),
                    "instances": _png(scene.instances),
                    "objects": [
                        {"bbox": tfds.features.BBox(*box), "label": int(label)}
                        for box, label in zip(scene.boxes, scene.labels, strict=True)
                    ],
                },
            )


class Scene(NamedTuple):
    """An image with all its labels.

    Attributes:
        image: uint8 [S, S, 3].
        mask: uint8 [S, S], indices into CLASS_NAMES.
        instances: uint8 [S, S], 0 or 1 + the index of a digit.
        boxes: float32 [N, 4], (ymin, xmin, ymax, xmax) of the visible pixels in 0..1.
        labels: int [N], 0..9.
    """

    image: np.ndarray
    mask: np.ndarray
    instances: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray


def draw_scene(
    rng: np.random.Generator, digits: np.ndarray, labels: np.ndarray, size: int
) -> Scene:
    """Draws a scene.

    Args:
        rng: random generator.
        digits: float32 [N, 8, 8] in 0..1, the digits to choose from.
        labels: int [N], 0..9.
        size: S, the side of the scene in pixels.
    """
    image = _background(rng, size)  # float32 [S, S, 3] in 0..255
    instances = np.zeros((size, size), np.uint8)
    chosen: list[int] = []
    own = np.zeros(0, int)  # pixels of each digit chosen, those hidden by later ones included
    visible = np.zeros(0, int)
    wanted = rng.integers(1, size * size // PER_DIGIT + 1)
    for _ in range(3 * wanted):  # some find no place
        index = int(rng.integers(len(digits)))
        window, ink = _place(rng, digits[index], size)  # a part of the scene, [h, w] in 0..1
        covered = ink > 0.5
        hidden = np.bincount(instances[window][covered], minlength=len(chosen) + 1)[1:]
        if not covered.any() or np.any(visible - hidden < LEAST_VISIBLE * own):
            continue
        colour = _contrasting(rng, image[window][covered].mean(0))
        image[window] += ink[..., None] * (colour - image[window])
        chosen.append(index)
        own = np.append(own, covered.sum())
        visible = np.append(visible - hidden, covered.sum())
        instances[window][covered] = len(chosen)
        if len(chosen) == wanted:
            break
    image += GRAIN * rng.standard_normal(image.shape, np.float32)
    classes = np.array([0, *(labels[index] + 1 for index in chosen)], np.uint8)
    return Scene(
        image=np.clip(image, 0, 255).astype(np.uint8),
        mask=classes[instances],
        instances=instances,
        boxes=np.array([_box(instances == i + 1) for i in range(len(chosen))], np.float32),
        labels=labels[chosen],
    )


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Soft blotches of colour under strokes, rings and discs: float32 [S, S, 3] in 0..255."""
    blotches = rng.integers(*BACKGROUND, (4, 4, 3), dtype=np.uint8)
    canvas = Image.fromarray(blotches).resize((size, size), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(canvas)
    for _ in range(rng.integers(4, 8) * size // 64):
        x, y = rng.uniform(0, size, 2)
        across, down = rng.uniform(-size / 3, size / 3, 2)
        corners = [min(x, x + across), min(y, y + down), max(x, x + across), max(y, y + down)]
        colour = tuple(int(c) for c in rng.integers(*CLUTTER, 3))
        width = int(rng.integers(1, 4))
        shape = rng.integers(4)
        if shape == 0:
            draw.line([x, y, x + across, y + down], colour, width)
        elif shape == 1:
            draw.arc(corners, float(rng.uniform(0, 360)), float(rng.uniform(0, 360)), colour, width)
        elif shape == 2:
            draw.ellipse(corners, colour)
        else:
            draw.rectangle(corners, outline=colour, width=width)
    return np.array(canvas, np.float32)


def _place(
    rng: np.random.Generator, digit: np.ndarray, size: int
) -> tuple[tuple[slice, slice], np.ndarray]:
    """Places the digit [8, 8] somewhere in the scene, enlarged and rotated.

    Returns:
        (rows, columns), and the ink there, float32 [h, w] in 0..1.
    """
    scale = rng.uniform(*DIGIT_PIXELS) / 8  # pixels of the scene per pixel of the digit
    squeeze = 1 + rng.uniform(-MAX_SQUEEZE, MAX_SQUEEZE)
    angle = np.deg2rad(rng.uniform(-MAX_TURN, MAX_TURN))
    x, y = rng.uniform(3 * scale, size - 3 * scale, 2)  # its middle; the margin is mostly blank
    reach = 5 * scale * (1 + MAX_SQUEEZE) * 1.4  # more than half the diagonal
    left, top = max(int(x - reach), 0), max(int(y - reach), 0)
    right, bottom = min(int(x + reach) + 1, size), min(int(y + reach) + 1, size)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    back = np.diag([1 / (scale * squeeze), squeeze / scale]) @ turn  # scene -> digit
    offset = np.array([5.0, 5.0]) - back @ [x - left, y - top]  # 5: the middle of the field of 10
    blob = Image.fromarray(np.pad(digit, 1)).transform(
        (right - left, bottom - top),
        Image.Transform.AFFINE,
        (*back[0], offset[0], *back[1], offset[1]),
        Image.Resampling.BICUBIC,
    )
    # enlarged strokes are soft blobs: make their edges about a pixel wide
    ink = np.clip((np.asarray(blob) - 0.5) * scale + 0.5, 0, 1)
    return (slice(top, bottom), slice(left, right)), ink


def _contrasting(rng: np.random.Generator, under: np.ndarray) -> np.ndarray:
    """Of a few random light colours, the one [3] that differs most from `under` in some channel."""
    colours = rng.uniform(*INK, (COLOURS, 3)).astype(np.float32)
    return colours[np.abs(colours - under).max(1).argmax()]


def _box(covered: np.ndarray) -> tuple[float, float, float, float]:
    """(ymin, xmin, ymax, xmax) around the true pixels, from edge to edge, in 0..1."""
    rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
    height, width = covered.shape
    top, bottom = rows[0] / height, (rows[-1] + 1) / height
    return top, columns[0] / width, bottom, (columns[-1] + 1) / width


def _png(pixels: np.ndarray) -> io.BytesIO:
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, format="PNG", compress_level=1)
    encoded.seek(0)
    return encoded
