"""In which frame the annotations of a set of `datasets` are, where images are turned by EXIF.

It is as for folders, see `cnn_jax.data.orientation`: the size that an annotation gives, by its
columns `width` and `height` or as a mask, says whether it is of the upright image or of the stored
one; where that does not tell, those of a sample that do. Images are looked at when they are read,
for their headers are in the same files as their pixels.
"""

from collections.abc import Sequence
from pathlib import Path

from cnn_jax.data import orientation
from cnn_jax.data.errors import DataError
from cnn_jax.data.image_header import open_image, said_orientation, stored_size
from cnn_jax.data.orientation import UPRIGHT, Frame, Header, Size

JUDGED = 256  # images of the sample


def header_of(image: bytes | Path) -> Header | None:
    """The header of an image in memory or in a file; None if it cannot be read, which decoding it
    says."""
    try:
        with open_image(image) as opened:
            return Header(*stored_size(opened), said_orientation(opened))
    except (ValueError, OSError):
        return None


def are_stored(
    names: Sequence[str],
    headers: Sequence[Header | None],
    stated: Sequence[Size | None],
    dataset: str,
) -> bool:
    """Whether annotations whose size does not tell are those of the images as they are stored.

    Args:
        names: of the images of a sample, for messages.
        headers: theirs.
        stated: the sizes that their annotations give; None for one without.
        dataset: 'hf:PATH', for messages.

    Raises:
        DataError: a size is neither that of the stored image nor that of the upright one.
    """
    found = orientation.frames([Path(name) for name in names], headers, stated, dataset)
    turned = [frame for frame in found if frame.orientation != UPRIGHT]
    return bool(turned) and all(frame.annotation != UPRIGHT for frame in turned)


def frame_of(header: Header, stated: Size | None, stored: bool, name: str) -> Frame:
    """The frame of an image's annotation.

    Args:
        header: of the image.
        stated: size that the annotation gives.
        stored: see `are_stored`.
        name: of the image, for the error.

    Raises:
        DataError: the size is neither that of the stored image nor that of the upright one.
    """
    fits = {
        is_stored: stated is None or orientation.is_size(stated, size)
        for is_stored, size in ((True, header.stored), (False, header.upright))
    }
    if not any(fits.values()):
        raise DataError(
            f"{name}: the annotation gives the size {stated}, and the image has {header.upright}: "
            "boxes are in pixels of that size; correct it"
        )
    as_stored = stored if all(fits.values()) else fits[True]
    size = stated or (header.stored if as_stored else header.upright)
    return Frame(size, header.orientation, header.orientation if as_stored else UPRIGHT)
