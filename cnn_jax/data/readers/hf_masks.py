"""A data set of Hugging Face's `datasets` on disk, with masks (`hf:PATH`).

The columns are found by their names and types: an image (`image`, `img`), and the image of a mask
(`mask`, `annotation`, `segmentation`, ...), of the upright image or of the stored one, see
`hf_frames`. What may be in PATH is described in `hf_files`.
"""

from collections.abc import Iterable, Sequence

from cnn_jax.data import orientation
from cnn_jax.data.errors import DataError
from cnn_jax.data.loaders.mask import MaskSource
from cnn_jax.data.readers import hf, hf_files, hf_frames, split_names
from cnn_jax.data.types import Record

MASKS = (
    "mask", "masks", "annotation", "segmentation", "segmentation_mask", "semantic_segmentation",
    "label", "labels",
)  # fmt: skip


class HFMaskRecords:
    """Images and masks; a mask of an image as it is stored comes with how to turn it.

    Args:
        pairs: rows of columns 'image' and 'mask'.
        stored: see `hf_frames.are_stored`.
    """

    def __init__(self, pairs: hf.HFRecords, stored: bool):
        self.pairs, self.stored_frames = pairs, stored

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitems__(self, indices: Sequence[int]) -> list[Record]:
        return [{**record, **self._turn(record)} for record in self.pairs.__getitems__(indices)]

    def _turn(self, record: Record) -> dict[str, int]:
        header = hf_frames.header_of(record["image"])
        if header is None or header.orientation == orientation.UPRIGHT:
            return {}
        try:
            frame = hf_frames.frame_of(header, _size(record), self.stored_frames, "")
        except DataError:  # decoding it raises an error with both sizes
            return {}
        return {"turn": frame.annotation}

    def describe(self, index: int) -> str:
        return self.pairs.describe(index)

    def identities(self) -> Iterable[str | bytes]:
        yield from self.pairs.identities()
        if self.stored_frames:
            yield "masks of images as they are stored"


def open_hf_masks(
    path: str, split: str, *, class_names: Sequence[str] = (), ignored: Sequence[int] = ()
) -> MaskSource:
    """Opens a set of images with a mask.

    Args:
        path: PATH.
        split: a split expression.
        class_names: names in the order of the masks' values.
        ignored: mask values to ignore.

    Raises:
        DataError: see `hf_files.open_splits`; there is no such split, or column; no class_names.
    """
    dataset = f"hf:{path}"
    root, stored = hf_files.open_splits(path)
    features = next(iter(stored.values())).rows.features
    image = hf.find_column(features, hf.IMAGES, "image", dataset, images=True, but=MASKS)
    mask = hf.find_column(features, MASKS, "mask", dataset, images=True, but=(image,))
    if not class_names:
        raise DataError(
            f"{dataset} does not name the classes of its masks: give their names, in the order of "
            "the masks' values, class_names=a,b,c"
        )
    splits = {
        name: [((name, row), 0) for row in range(len(one.rows))] for name, one in stored.items()
    }
    if set(splits) == {"all"}:
        splits = split_names.stratified(splits["all"])
    chosen = split_names.select(splits, split, dataset=dataset)
    rows = [place for place, _ in chosen]
    pairs = hf.HFRecords(root, stored, rows, {"image": image, "mask": mask})
    return MaskSource(
        name=root.resolve().name,
        split=split,
        records=HFMaskRecords(pairs, _are_stored(pairs, dataset)),
        class_names=tuple(class_names),
        image_shape=(None, None, 3),
        upright=True,
        ignored=tuple(ignored),
    )


def _size(record: Record) -> orientation.Size | None:
    """That of a mask."""
    header = hf_frames.header_of(record["mask"])
    return header.stored if header else None


def _are_stored(pairs: hf.HFRecords, dataset: str) -> bool:
    """Whether masks whose size does not tell are those of images as they are stored."""
    names, headers, stated = [], [], []
    for index in range(0, len(pairs), max(1, len(pairs) // hf_frames.JUDGED)):
        (record,) = pairs.__getitems__([index])
        header = hf_frames.header_of(record["image"])
        if header is not None and header.orientation != orientation.UPRIGHT:
            names.append(pairs.describe(index))
            headers.append(header)
            stated.append(_size(record))
    return hf_frames.are_stored(names, headers, stated, dataset)
