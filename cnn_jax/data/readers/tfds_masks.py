"""Sets of TFDS with a class for every pixel: those of TABLE, and others by their features."""

from collections.abc import Sequence
from typing import NamedTuple

from cnn_jax.data.errors import DataError
from cnn_jax.data.loaders.mask import MaskSource
from cnn_jax.data.readers.tfds import open_builder, open_records


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


def open_tfds_masks(
    dataset: str,
    split: str,
    *,
    data_dir: str | None = None,
    image_feature: str = "",
    mask_feature: str = "",
    class_names: Sequence[str] = (),
    ignored: Sequence[int] = (),
) -> MaskSource:
    """Opens a split of a TFDS set of images with masks.

    Args:
        dataset: name of the set.
        split: a TFDS split expression.
        data_dir: see `cnn_jax.data.open_source`.
        image_feature, mask_feature: features of a set that is not in TABLE.
        class_names: names of the mask values 0, 1, ...; empty for those of the set itself.
        ignored: mask values to ignore; those of sets in TABLE are fixed.

    Raises:
        DataError: there is no such set, split or feature, or the classes are not known.
    """
    builder = open_builder(dataset, data_dir=data_dir)
    features = builder.info.features
    known = TABLE.get(builder.info.name)
    image = image_feature or (known.image if known else "image")
    mask = mask_feature or (known.mask if known else "mask")
    for name in (image, mask):
        if name not in features:
            raise DataError(
                f"{dataset} has no feature {name!r}; it has {', '.join(features)}: say which are "
                "the image and the mask, image_feature=NAME and mask_feature=NAME"
            )
    if known and not class_names:
        names = [name for name, _ in known.classes]
        values = [values for _, values in known.classes]
    else:
        names = list(class_names or getattr(features[mask], "names", None) or ())
        if not names:
            raise DataError(f"{dataset} does not name its classes: give their names")
        values = []
    height, width, channels = features[image].shape
    return MaskSource(
        name=builder.info.name,
        split=split,
        records=open_records(builder, split, {"image": image, "mask": mask}),
        class_names=tuple(names),
        image_shape=(height, width, channels or 3),
        values=tuple(map(tuple, values)),
        ignored=None if values else tuple(ignored),
    )
