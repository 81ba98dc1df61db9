"""Images with a class for every pixel: TFDS sets by name, and folders (`masks:PATH`).

A mask is an image of one channel whose values are class indices. Records hold 'image' and 'mask',
encoded; `LoadPair` turns them into {'image': uint8 [H, W, C], 'label': uint8 [H, W]}, in which
IGNORE marks the pixels that do not count. Images are not rotated by their EXIF orientation: a mask
belongs to the pixels as they are stored.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cnn_jax.data.crop import resample
from cnn_jax.data.decode import decode_image, open_image, read_image
from cnn_jax.data.errors import DataError
from cnn_jax.data.opening import open_source
from cnn_jax.data.pipeline import MEMORY_LIMIT
from cnn_jax.data.types import Record, Source

IGNORE = 255


class MaskSet(NamedTuple):
    """How a TFDS set stores its masks.

    Attributes:
        image: name of the image feature.
        mask: name of the mask feature.
        classes: (name, mask values of this class), in the order of our indices. Other values are
            ignored.
    """

    image: str
    mask: str
    classes: Sequence[tuple[str, Sequence[int]]]


# Cordts et al. 2016, arXiv:1604.01685: the 19 evaluated classes and their label ids.
CITYSCAPES = {
    "road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17,
    "traffic light": 19, "traffic sign": 20, "vegetation": 21, "terrain": 22, "sky": 23,
    "person": 24, "rider": 25, "car": 26, "truck": 27, "bus": 28, "train": 31, "motorcycle": 32,
    "bicycle": 33,
}  # fmt: skip

TABLE = {
    # The trimap: 1 pet, 2 background, 3 neither for certain (Parkhi et al. 2012).
    "oxford_iiit_pet": MaskSet(
        "image", "segmentation_mask", (("background", [2]), ("pet", [1]), ("border", [3]))
    ),
    "cityscapes": MaskSet(
        "image_left",
        "segmentation_label",
        tuple((name, [value]) for name, value in CITYSCAPES.items()),
    ),
    # MIT scene parsing: 0 is what belongs to none of the 150 classes.
    "scene_parse150": MaskSet(
        "image", "annotation", tuple((f"class {i}", [i]) for i in range(1, 151))
    ),
}


@dataclasses.dataclass(frozen=True, eq=False)
class MaskSource(Source):
    """A `Source` whose records have masks.

    Attributes:
        values: mask values of each class.
        ignored: mask values to ignore. Any other value is an error; None ignores all values that no
            class has.
    """

    values: Sequence[Sequence[int]] = ()
    ignored: Sequence[int] | None = (IGNORE,)

    def translation(self) -> tuple[int, ...]:
        """For each of 256 mask values its class, IGNORE, or -1 for an error."""
        table = dict.fromkeys(range(256), IGNORE if self.ignored is None else -1)
        for index, values in enumerate(self.values):
            table |= dict.fromkeys(values, index)
        return tuple((table | dict.fromkeys(self.ignored or (), IGNORE)).values())


def load_mask_source(
    dataset: str,
    split: str,
    *,
    data_dir: str | None = None,
    image_feature: str = "",
    mask_feature: str = "",
    class_names: Sequence[str] = (),
    ignored: Sequence[int] = (IGNORE,),
    skip_corrupt: bool = False,
) -> MaskSource:
    """Opens a split of a set of images with masks.

    Args:
        dataset: 'digit_scenes' (built in), another TFDS name, or 'masks:PATH', see
            `cnn_jax.data.readers.mask_folder`.
        split: a TFDS split expression; for folders see their module.
        data_dir: see `cnn_jax.data.load_source`.
        image_feature, mask_feature: features of a TFDS set that is not in TABLE.
        class_names: names of the mask values 0, 1, ...; empty for those of the set itself.
        ignored: mask values to ignore; those of sets in TABLE are fixed.
        skip_corrupt: see `cnn_jax.data.Source`.

    Raises:
        DataError: there is no such dataset, split or feature, or the classes are not known.
    """
    ignored = tuple(sorted({*ignored, IGNORE}))
    source: MaskSource = open_source(
        "mask",
        dataset,
        split,
        data_dir=data_dir,
        image_feature=image_feature,
        mask_feature=mask_feature,
        class_names=class_names,
        ignored=ignored,
    )
    return dataclasses.replace(source, skip_corrupt=skip_corrupt)


def tfds_mask_source(
    dataset: str,
    split: str,
    *,
    data_dir: str | None,
    image_feature: str,
    mask_feature: str,
    class_names: Sequence[str],
    ignored: Sequence[int] | None,
) -> MaskSource:
    """Opens a TFDS set; see `load_mask_source`."""
    from cnn_jax.data.readers.tfds import open_builder, open_records

    builder = open_builder(dataset, data_dir=data_dir)
    features = builder.info.features
    known = TABLE.get(builder.info.name)
    image = image_feature or (known.image if known else "image")
    mask = mask_feature or (known.mask if known else "mask")
    for name in (image, mask):
        if name not in features:
            raise DataError(
                f"{dataset} has no feature {name!r}; it has {', '.join(features)}: say which are "
                "the image and the mask"
            )
    if known and not class_names:
        names = [name for name, _ in known.classes]
        values, ignored = [values for _, values in known.classes], None
    else:
        names = list(class_names or getattr(features[mask], "names", None) or ())
        if not names:
            raise DataError(f"{dataset} does not name its classes: give their names")
        values = [[i] for i in range(len(names))]
    height, width, channels = features[image].shape
    return MaskSource(
        name=builder.info.name,
        split=split,
        records=open_records(builder, split, {"image": image, "mask": mask}),
        class_names=tuple(names),
        image_shape=(height, width, channels or 3),
        values=tuple(map(tuple, values)),
        ignored=ignored,
    )


@dataclasses.dataclass(frozen=True)
class LoadPair:
    """(record, rng) -> {'image': uint8 [H, W, C], 'label': uint8 [H, W]}, IGNORE included.

    Images are resized linearly, masks by the nearest pixel.

    Attributes:
        channels: channels of the image.
        translation: see `MaskSource.translation`.
        size: (height, width) of the result; None leaves images at their own size.
    """

    channels: int
    translation: tuple[int, ...]
    size: tuple[int, int] | None = None

    def __call__(self, record: Record, rng: np.random.Generator | None) -> dict[str, np.ndarray]:
        image = decode_image(read_image(record["image"]), channels=self.channels)
        mask = decode_mask(read_image(record["mask"]))
        if mask.shape != image.shape[:2]:
            sizes = ["x".join(map(str, x.shape[1::-1])) for x in (mask, image)]
            raise ValueError(f"its mask has {sizes[0]} pixels and its image {sizes[1]}")
        translation = np.array(self.translation, np.int16)
        label = translation[mask]
        if (wrong := mask[label < 0]).size:
            classes = translation[translation != IGNORE].max() + 1
            raise ValueError(
                f"{wrong.size} pixels of its mask have a value such as {wrong[0]}, which is "
                f"none of the {classes} classes and not ignored"
            )
        label = label.astype(np.uint8)
        if self.size is not None:
            image, label = resample(image, self.size), _nearest(label, self.size)
        return {"image": image, "label": label}


def pair_loader(source: MaskSource, image_size: tuple[int, int] | None) -> LoadPair:
    """The `LoadPair` that gives a source's images one size.

    Args:
        image_size: (height, width); None if all images have one size.

    Raises:
        DataError: the images may differ in size and no size is given.
    """
    if image_size is None and None in source.image_shape[:2]:
        raise DataError(
            f"the images of {source.name} may differ in size: give an image_size, height and width"
        )
    return LoadPair(source.image_shape[2], source.translation(), image_size)


def fits_in_memory(source: MaskSource, load: LoadPair) -> bool:
    """Whether all decoded images and masks may be kept in memory."""
    height, width = load.size or source.image_shape[:2]
    assert height is not None  # `pair_loader` requires a size if it is not known
    assert width is not None
    return len(source) * height * width * (load.channels + 1) <= MEMORY_LIMIT


def decode_mask(data: bytes) -> np.ndarray:
    """Decodes a mask: uint8 [H, W] of the stored values, a palette's indices included.

    Raises:
        ValueError: the data are not an image, are in colour, or have values above 255.
    """
    with open_image(data) as image:
        values, mode = np.asarray(image), image.mode
    if mode == "LA":  # grey that was saved with an alpha channel
        values = values[..., 0]
    elif values.ndim == 3 and mode not in ("RGB", "RGBA"):
        raise ValueError(f"its mask is in {mode}: wanted a palette or grey image")
    if values.ndim == 3:  # grey that was saved as colour is accepted
        if np.any(values[..., :3] != values[..., :1]):
            raise ValueError(
                "its mask is in colour: wanted a palette or grey image whose values are classes"
            )
        values = values[..., 0]
    if values.dtype != np.uint8 and values.size and not 0 <= values.min() <= values.max() <= 255:
        raise ValueError(f"its mask has the value {values.max()}: wanted at most 255")
    if values.dtype.kind == "f" and np.any(values != np.floor(values)):
        raise ValueError("its mask has fractional values, which are not classes")
    return values.astype(np.uint8)


def _nearest(label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes labels by the value at the centre of each new pixel."""
    rows, columns = (
        ((np.arange(want) + 0.5) * have / want).astype(int)
        for want, have in zip(size, label.shape, strict=True)
    )
    return label[rows[:, None], columns]


def median_frequency_weights(batches: Iterable[Mapping[str, np.ndarray]], classes: int):
    """Class weights that compensate for the rarity of classes.

    They are median(f) / f_c, where f_c is the number of pixels of class c over the number of all
    pixels in the images that contain it (Eigen and Fergus 2015, arXiv:1411.4734, section 6.3.2).
    Ignored pixels do not count, and a class that never occurs gets 0.

    Args:
        batches: batches with 'label' [B, H, W] and 'mask' [B], each image once.
        classes: K.

    Returns:
        float64 [K].
    """
    own, around = np.zeros(classes), np.zeros(classes)
    for batch in batches:
        for label, real in zip(batch["label"], batch["mask"], strict=True):
            if real:
                counts = np.bincount(label.ravel(), minlength=classes)[:classes]
                own += counts
                around += np.where(counts > 0, counts.sum(), 0)
    frequency = np.divide(own, around, out=np.zeros(classes), where=around > 0)
    if not frequency.any():
        return np.ones(classes)
    median = np.median(frequency[frequency > 0])
    return np.divide(median, frequency, out=np.zeros(classes), where=frequency > 0)
