"""What a data set is, in sixteen characters: to see that it changed without reading its images.

Two processes that are to train together, and a run that is gone on with, must have the same
examples in the same order. The fingerprint is a hash of what says so cheaply: the names of the
files within their folder, their sizes and labels. Where the folder lies is no part of it, so that
a set may be moved.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from cnn_jax.data.types import Source

# Asking a file system over a network for a size takes a fraction of a millisecond: of larger sets
# the sizes of so many files, evenly spaced, are asked for. Names and labels are always all of them.
SIZES_ASKED = 50_000


@runtime_checkable
class Identified(Protocol):
    """Records that can say what they are, in their order."""

    def identities(self) -> Iterable[str | bytes]:
        """Names, sizes and labels, without reading an image."""
        ...


def fingerprint(source: Source) -> str:
    """16 hexadecimal digits: equal for the same examples, in the same order, of the same classes.

    Of records that cannot say what they are, only their number counts.
    """
    digest = hashlib.blake2b(digest_size=8)

    def add(part: str | bytes) -> None:
        content = part if isinstance(part, bytes) else part.encode(errors="surrogatepass")
        digest.update(len(content).to_bytes(8, "little") + content)

    add(str(len(source)))
    add(str(len(source.class_names)))
    for name in source.class_names:
        add(name)
    if isinstance(source.records, Identified):
        for part in source.records.identities():
            add(part)
    return digest.hexdigest()


def described(sources: Mapping[str, Source]) -> dict[str, dict[str, Any]]:
    """JSON: what each of the sources is, by the name that it is given here: 'train', 'test'.

    {'train': {'split': 'train[:90%]', 'examples': 1294, 'fingerprint': '0f6c...'}}
    """
    return {
        name: {
            "split": source.split,
            "examples": len(source),
            "fingerprint": fingerprint(source),
        }
        for name, source in sources.items()
    }


def files(root: Path, names: Sequence[Path | str]) -> Iterable[str]:
    """The identities of files: their names within `root`, and the sizes in bytes of at most
    SIZES_ASKED of them. A file that is not there has the size -1."""
    every = max(1, -(-len(names) // SIZES_ASKED))
    inside = os.path.join(root, "")
    for index, name in enumerate(names):  # strings: pathlib takes ten times as long
        path = os.path.join(root, name)
        within = path.removeprefix(inside)
        yield within.replace(os.sep, "/") if within != path else os.path.basename(path)
        if index % every == 0:
            yield str(_size(path))


def array(values: np.ndarray) -> bytes:
    """The identity of an array of numbers: shape, dtype and content."""
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    return f"{little.shape} {little.dtype} ".encode() + little.tobytes()


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:  # said when it is read, with its name
        return -1
