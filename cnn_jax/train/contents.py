"""What a checkpoint holds, by path: checksums, dtypes and shapes of its arrays."""

import json
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from cnn_jax.typing import PyTree


def signed(meta: Mapping[str, Any]) -> dict[str, Any]:
    """The meta with its own CRC-32, which does not depend on the order of the keys."""
    return {**meta, "own_crc32": _own(meta)}


def is_intact(meta: Mapping[str, Any]) -> bool:
    """Whether the meta is as `signed` returned it."""
    # checkpoints from before November 2026 have no checksum
    return "own_crc32" not in meta or meta["own_crc32"] == _own(meta)


def _own(meta: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in meta.items() if name != "own_crc32"}
    return f"{zlib.crc32(json.dumps(rest, sort_keys=True).encode()):08x}"


def checksums(tree: PyTree) -> dict[str, str]:
    """CRC-32 of the bytes of every array, by its path."""
    return {
        _name(path): f"{zlib.crc32(np.ascontiguousarray(leaf).view(np.uint8).reshape(-1)):08x}"
        for path, leaf in jax.tree.leaves_with_path(jax.device_get(tree))
    }


def describe(tree: PyTree) -> dict[str, str]:
    """Dtype and shape of every array by path: {'params/conv1/kernel': 'float32[3, 3, 1, 16]'}."""
    return {
        _name(path): f"{leaf.dtype}{list(leaf.shape)}"
        for path, leaf in jax.tree.leaves_with_path(tree)
    }


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def difference(saved: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    """The first few differences of two descriptions, in words; '' for none."""
    found = [
        f"{path} is {saved.get(path, 'absent')} and should be {wanted.get(path, 'absent')}"
        for path in sorted(saved.keys() | wanted.keys())
        if saved.get(path) != wanted.get(path)
    ]
    more = f", and {len(found) - 3} more" if len(found) > 3 else ""
    return "; ".join(found[:3]) + more
