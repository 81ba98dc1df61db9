"""The first bytes of a weights file: whether it is a file at all, and what else it may be."""

import os
import stat
from pathlib import Path

from cnn_jax.weights.errors import WeightsError

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

# The first bytes of files that are often found in place of weights, and what to do about them.
_OTHERS = {
    b"version https://git-lfs": "a Git LFS pointer, not the weights: 'git lfs pull' fetches them",
    b"<!doctype": "a web page, not the weights: was the download behind a login?",
    b"<html": "a web page, not the weights: was the download behind a login?",
    b"<?xml": "an XML text, not the weights: a server's error message?",
    b'{"error': "an error message, not the weights",
    b"\x1f\x8b": "compressed by gzip: unpack it",
    b"\xfd7zxz": "compressed by xz: unpack it",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: unpack it",
    b"\x89hdf": "an HDF5 file, perhaps of Keras: give a PyTorch or safetensors file",
    b"\x93numpy": "a numpy array: give a PyTorch or safetensors file",
}


def first_bytes(path: Path, count: int) -> bytes:
    """The first `count` bytes of a weights file, or fewer. Does not wait for a pipe.

    Raises:
        WeightsError: it is not a regular file, is empty, or is of another kind, which is named.
        FileNotFoundError: there is no such file.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "not a regular file")
        raise WeightsError(f"{path}: {kind}; wanted a weights file")
    with open(path, "rb") as file:
        start = file.read(max(count, 64))
    if not start:
        raise WeightsError(f"{path}: the file is empty; fetch or copy it again")
    lower = start.lstrip().lower()
    for beginning, what in _OTHERS.items():
        if lower.startswith(beginning):
            raise WeightsError(f"{path}: {what}")
    return start[:count]
