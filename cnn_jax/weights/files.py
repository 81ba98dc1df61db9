"""Weights files, `.safetensors` and PyTorch's `.pth`, distinguished by their content."""

import collections
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from cnn_jax.weights import choosing, opening, pth, shards
from cnn_jax.weights.errors import WeightsError
from cnn_jax.weights.pickle_records import shown

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

# Prefixes that wrappers add to every name: torch.compile, DataParallel, and modules of training
# scripts that keep the network as an attribute.
_PREFIXES = ("_orig_mod.", "module.", "model.", "net.", "network.", "backbone.", "_forward_module.")
_MOST_WRAPPED = 8  # modules in each other; a name may be nothing but prefixes, a million of them
# Parts that wrappers add within names: of a compiled, sharded or checkpointed part of a network.
_WRAPPERS = re.compile(
    r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\."
)
# Tensors that are no weights: of PyTorch's averages (AveragedModel), of profilers (thop).
COUNTERS = ("num_batches_tracked", "n_averaged", "total_ops", "total_params")


class StateDict(NamedTuple):
    """The content of a weights file.

    Attributes:
        tensors: arrays by PyTorch's names.
        metadata: the text entries of a safetensors header; empty for a PyTorch file.
        notes: what to know about them: which of two state dicts this is, what was left out.
    """

    tensors: dict[str, np.ndarray]
    metadata: dict[str, str]
    notes: tuple[str, ...] = ()


def read(path: str | os.PathLike[str], *, take: str = "") -> StateDict:
    """Reads a state dict from a safetensors or a PyTorch file.

    In a PyTorch checkpoint the state dict may be under a name such as 'state_dict' or 'model'
    (`choosing.NESTED`), beside anything else: only tensors are created. A prefix that all names
    have ('module.' of DataParallel, '_orig_mod.' of torch.compile, 'model.' of Lightning; see
    `_PREFIXES`) is removed.

    Args:
        path: a file; an index of several (model.safetensors.index.json); or a directory with one.
        take: which weights, of several in the file: the name of a state dict ('model_ema'), 'ema'
            or 'raw' for a moving average of the weights or the weights themselves, or what the
            names of the wanted tensors begin with ('teacher'). By default the average, if there are
            both.

    Raises:
        WeightsError: the file is truncated or damaged, holds no state dict, several to choose from,
            or is not a weights file; the message says what it is instead.
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    if path.is_dir():
        path = shards.in_directory(path)
    if shards.is_index(path):
        return _read_shards(path, take)
    if index := shards.index_of(path):
        raise WeightsError(f"{path}: one of several files with parts of the weights: give {index}")
    content = _read_file(path, take)
    tensors, begins = content.tensors, f"{take}."
    if take and any(name.startswith(begins) for name in tensors):
        tensors = {n.removeprefix(begins): a for n, a in tensors.items() if n.startswith(begins)}
    elif take and path.suffix == ".safetensors":
        raise WeightsError(f"{path}: has no tensors whose names begin with {begins}")
    return content._replace(tensors=_unwrapped(tensors))


def _read_shards(index: Path, take: str) -> StateDict:
    places = shards.weight_map(index)
    tensors: dict[str, np.ndarray] = {}
    metadata: dict[str, str] = {}
    for file in sorted({*places.values()}):
        part = _read_file(index.parent / file, "")
        names = [name for name, place in places.items() if place == file]
        if lacking := [name for name in names if name not in part.tensors]:
            raise WeightsError(
                f"{index.parent / file}: lacks {len(lacking)} tensors that {index.name} says it "
                f"has, such as {shown(lacking[0])}: are both of the same weights?"
            )
        tensors |= {name: part.tensors[name] for name in names}
        metadata |= part.metadata
    if take:
        tensors = {
            name.removeprefix(f"{take}."): array
            for name, array in tensors.items()
            if name.startswith(f"{take}.")
        }
        if not tensors:
            raise WeightsError(f"{index}: has no tensors whose names begin with {take}.")
    return StateDict(_unwrapped(tensors), metadata)


def _read_file(path: Path, take: str) -> StateDict:
    """The content of one file, its names as they are there."""
    start = opening.first_bytes(path, 9)
    if start[8:] == b"{":  # a zip archive has its compression method there: 0
        return _read_safetensors(path)
    if path.suffix == ".safetensors":
        raise WeightsError(f"{path}: not a safetensors file (no header)")
    tree = pth.read(path)
    try:
        tensors, notes = choosing.state_dict_of(path, tree, take)
    except WeightsError:
        tensors, notes = choosing.state_dict_of(path, tree)  # names may begin with it
        if not take or not any(name.startswith(f"{take}.") for name in tensors):
            raise
    return StateDict(tensors, {}, notes)


def write(
    path: str | os.PathLike[str],
    tensors: Mapping[str, np.ndarray],
    metadata: Mapping[str, str],
) -> None:
    """Writes a safetensors file, whole or not at all."""
    import safetensors.numpy  # networks are created where it is not installed

    path = Path(path)
    unfinished = path.with_name(path.name + ".unfinished")
    contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    safetensors.numpy.save_file(contiguous, unfinished, dict(metadata))
    unfinished.replace(path)


def _read_safetensors(path: Path) -> StateDict:
    import safetensors

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
    return StateDict(tensors, metadata)


def _check_names(path: Path, content: bytes) -> None:
    """Raises WeightsError if the header has a name twice: the library silently takes the last."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = dict(pairs)
        if len(names) < len(pairs):
            counts = collections.Counter(name for name, _ in pairs)
            raise WeightsError(f"{path}: the header has {shown(counts.most_common(1)[0][0])} twice")
        return names

    json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")], object_pairs_hook=once)


def _unwrapped(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors without the prefixes that all names have, and without wrappers in names."""
    clean = {_WRAPPERS.sub("", name): array for name, array in tensors.items()}
    if len(clean) == len(tensors):  # no two names became one
        tensors = clean
    for _ in range(_MOST_WRAPPED):
        weights = [name for name in tensors if name.rpartition(".")[2] not in COUNTERS]
        prefix = next((p for p in _PREFIXES if all(name.startswith(p) for name in weights)), None)
        if prefix is None or not weights:
            break
        tensors = {name.removeprefix(prefix): array for name, array in tensors.items()}
    return tensors
