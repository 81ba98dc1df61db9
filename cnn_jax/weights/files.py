"""Weights files, `.safetensors` and PyTorch's `.pth`, distinguished by their content."""

import collections
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from cnn_jax.weights import opening, pth
from cnn_jax.weights.errors import WeightsError
from cnn_jax.weights.pickle_records import Opaque, shown

_SAFETENSORS_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
    "C64": np.complex64,
}

# Names under which training scripts put the state dict in a checkpoint, in the order tried.
_NESTED = ("state_dict", "model_state_dict", "model", "model_state", "net", "network", "module")

# Prefixes that wrappers add to every name: torch.compile, DataParallel, and modules of training
# scripts that keep the network as an attribute.
_PREFIXES = ("_orig_mod.", "module.", "model.", "net.", "network.", "backbone.")
_MOST_WRAPPED = 8  # modules in each other; a name may be nothing but prefixes, a million of them


class StateDict(NamedTuple):
    """The content of a weights file.

    Attributes:
        tensors: arrays by PyTorch's names.
        metadata: the text entries of a safetensors header; empty for a PyTorch file.
    """

    tensors: dict[str, np.ndarray]
    metadata: dict[str, str]


def read(path: str | os.PathLike[str]) -> StateDict:
    """Reads a state dict from a safetensors or a PyTorch file.

    In a PyTorch checkpoint the state dict may be under a name such as 'state_dict' or 'model'
    (`_NESTED`), beside anything else: only tensors are created. A prefix that all names have
    ('module.' of DataParallel, '_orig_mod.' of torch.compile, 'model.' of Lightning; see
    `_PREFIXES`) is removed.

    Raises:
        WeightsError: the file is truncated or damaged, holds no state dict, or is not a weights
            file; the message says what it is instead.
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    start = opening.first_bytes(path, 9)
    if start[8:] == b"{":  # a zip archive has its compression method there: 0
        return _read_safetensors(path)
    if path.suffix == ".safetensors":
        raise WeightsError(f"{path}: not a safetensors file (no header)")
    tree = pth.read(path)
    for key in _NESTED:
        if isinstance(tree, Mapping) and isinstance(tree.get(key), Mapping):
            tree = tree[key]
    return StateDict(_unwrapped(_tensors_only(path, tree)), {})


def write(
    path: str | os.PathLike[str],
    tensors: Mapping[str, np.ndarray],
    metadata: Mapping[str, str],
) -> None:
    """Writes a safetensors file, whole or not at all."""
    path = Path(path)
    unfinished = path.with_name(path.name + ".unfinished")
    contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    safetensors.numpy.save_file(contiguous, unfinished, dict(metadata))
    unfinished.replace(path)


def _read_safetensors(path: Path) -> StateDict:
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
        content = path.read_bytes()
        entries = safetensors.deserialize(content)  # checks every size and offset
    except safetensors.SafetensorError as error:
        raise WeightsError(
            f"{path}: the safetensors file is truncated, or its header does not agree with its "
            f"size ({str(error)[:300]})"
        ) from error
    _check_names(path, content)
    tensors = {}
    for name, entry in entries:
        if entry["dtype"] not in _SAFETENSORS_DTYPES:
            raise WeightsError(
                f"{path}: {shown(name)} has the dtype {entry['dtype']}: not supported"
            )
        flat = np.frombuffer(entry["data"], _SAFETENSORS_DTYPES[entry["dtype"]])
        try:
            tensors[name] = flat.reshape(entry["shape"])
        except ValueError as error:
            raise WeightsError(
                f"{path}: {shown(name)} has a shape of {len(entry['shape'])} axes that numpy "
                f"rejects ({str(error)[:100]})"
            ) from error
    return StateDict(_unwrapped(tensors), metadata)


def _check_names(path: Path, content: bytes) -> None:
    """Raises WeightsError if the header has a name twice: the library silently takes the last."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = dict(pairs)
        if len(names) < len(pairs):
            counts = collections.Counter(name for name, _ in pairs)
            raise WeightsError(f"{path}: the header has {shown(counts.most_common(1)[0][0])} twice")
        return names

    json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")], object_pairs_hook=once)


def _tensors_only(path: Path, tree: Any) -> dict[str, np.ndarray]:
    if isinstance(tree, Opaque):
        raise WeightsError(
            f"{path}: not a state dict but a whole object, of {shown(tree)}, which has not been "
            "run. Save only the state dict of the network: torch.save(model.state_dict(), path)"
        )
    if not isinstance(tree, Mapping):
        raise WeightsError(f"{path}: holds a {type(tree).__name__}, not a state dict")
    other = {key: value for key, value in tree.items() if not isinstance(value, np.ndarray)}
    if other or not tree:
        named = [
            f"{shown(key)} ({shown(value)})" if isinstance(value, Opaque) else shown(key)
            for key, value in list(other.items())[:5]
        ]
        raise WeightsError(
            f"{path}: not a state dict: {', '.join(named) or 'it'} holds no tensor. A state "
            f"dict may be under {', '.join(_NESTED)}"
        )
    if not all(isinstance(name, str) for name in tree):
        raise WeightsError(f"{path}: not a state dict: its tensors have numbers for names")
    return dict(tree)


def _unwrapped(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors without the prefixes that all names have."""
    for _ in range(_MOST_WRAPPED):
        prefix = next((p for p in _PREFIXES if all(name.startswith(p) for name in tensors)), None)
        if prefix is None or not tensors:
            break
        tensors = {name.removeprefix(prefix): array for name, array in tensors.items()}
    return tensors
