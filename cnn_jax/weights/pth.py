"""PyTorch's checkpoint files, read without PyTorch and without running anything in them.

Two containers hold the same pickle of tensors (`pickle_machine`):

- the zip archive of PyTorch >= 1.6: `<name>/data.pkl`, and the bytes of storage k in
  `<name>/data/<k>`, uncompressed; `<name>/byteorder` says 'little' or 'big';
- the file of PyTorch < 1.6: five pickles (magic number, version, system, the object, the storages'
  keys), then each storage as an 8-byte count of elements and its little-endian bytes.

The tar files of 2016 and TorchScript archives are refused with a message. Quantised and sparse
tensors, and everything that is not a tensor, become `Opaque` records.

Sizes that a file claims are limited by its own size, so that a small one cannot take much memory.
"""

import io
import mmap
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from cnn_jax.weights import opening, pickle_machine
from cnn_jax.weights.errors import WeightsError
from cnn_jax.weights.pickle_records import Global, PersistentId, TensorRecord, shown

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C  # torch/serialization.py, 2.14
_PROTOCOL_VERSION = 1001
_MAX_DEPTH = 200  # of nested containers

_STORAGE_TYPES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
    "ComplexFloatStorage": np.complex64,
    "ComplexDoubleStorage": np.complex128,
}
_DTYPES = {  # dtypes without a storage type; the tensor names its dtype
    "uint16": np.uint16,
    "uint32": np.uint32,
    "uint64": np.uint64,
    "float8_e4m3fn": ml_dtypes.float8_e4m3fn,
    "float8_e5m2": ml_dtypes.float8_e5m2,
    "float8_e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "float8_e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
}

# Errors of zipfile and the pickle machine on a damaged archive: a size beyond the end is EOFError,
# a bit that says 'encrypted' RuntimeError, a later version of zip NotImplementedError.
DAMAGED = (
    OSError,
    ValueError,
    EOFError,
    RuntimeError,
    OverflowError,
    struct.error,
    zipfile.BadZipFile,
)

# Reads the bytes of a storage: (key, expected number of bytes) -> little- or big-endian bytes.
ReadStorage = Callable[[str, int], bytes]


def read(path: str | os.PathLike[str]) -> Any:
    """Reads a file written by `torch.save`.

    Returns:
        The saved object: nested dicts and lists, with numpy arrays (read-only views where tensors
        shared a storage; bfloat16 and float8 as `ml_dtypes`) in place of tensors, and
        `pickle_records.Opaque` in place of all other objects.

    Raises:
        WeightsError: it is not such a file, is truncated or damaged, or tries to run a command.
    """
    path = Path(path)
    try:
        start = opening.first_bytes(path, 512)
        if start[:4] == b"PK\x03\x04":
            return _read_zip(path)
        if start[257:262] == b"ustar":
            raise WeightsError("a tar file of PyTorch < 0.1.10 is not supported: save it again")
        return _read_sequential(path)
    except WeightsError as error:
        text = str(error)
        raise WeightsError(text if text.startswith(f"{path}: ") else f"{path}: {text}") from error
    except FileNotFoundError:
        raise
    except DAMAGED as error:
        reason = str(error) or type(error).__name__  # zipfile's may have 64 kB of the file in it
        raise WeightsError(f"{path}: not a readable PyTorch file ({reason[:200]})") from error


def _read_zip(path: Path) -> Any:
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise WeightsError(
            f"the zip archive is truncated or damaged ({str(error)[:200]})"
        ) from error
    with archive:
        names = archive.namelist()
        entries = {name.split("/", 1)[-1]: name for name in names}
        if len(entries) < len(names):  # ambiguous
            raise WeightsError("two entries of the zip archive have one name")
        if "constants.pkl" in entries:
            raise WeightsError("a TorchScript program, not a state dict: save model.state_dict()")
        if "data.pkl" not in entries:
            raise WeightsError("a zip archive without data.pkl: not written by torch.save")

        left = path.stat().st_size

        def read_entry(name: str) -> bytes:
            nonlocal left
            if name not in entries:
                raise WeightsError(f"the archive has no entry {shown(name)}")
            entry = archive.getinfo(entries[name])
            stored = entry.compress_type == zipfile.ZIP_STORED  # torch.save never compresses
            if not stored or entry.compress_size != entry.file_size:  # memory for both is taken
                raise WeightsError(f"the entry {shown(name)} is compressed")
            left -= entry.file_size
            if left < 0:  # a false size, or the same bytes for several entries
                raise WeightsError(f"the entries up to {shown(name)} are larger than the file")
            return archive.read(entry)  # checks the CRC-32

        def read_storage(key: str, size: int) -> bytes:
            data = read_entry(f"data/{key}")
            if len(data) != size:
                raise WeightsError(
                    f"storage {shown(key)} has {len(data)} bytes, its tensors want {shown(size)}"
                )
            return data

        order = read_entry("byteorder") if "byteorder" in entries else b"little"
        if order not in (b"little", b"big"):
            raise WeightsError(f"the byte order is {shown(order)}, neither 'little' nor 'big'")
        tree = pickle_machine.load(io.BytesIO(read_entry("data.pkl")))
        return _fill(tree, read_storage, big_endian=order == b"big")


def _read_sequential(path: Path) -> Any:
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            magic = pickle_machine.load(data)
        except WeightsError:
            magic = None
        if magic != _MAGIC_NUMBER:
            raise WeightsError(
                "not a PyTorch file: it begins neither as a zip archive nor with torch's number"
            )
        version = pickle_machine.load(data)
        if version != _PROTOCOL_VERSION:
            raise WeightsError(f"protocol version {shown(version)}, expected {_PROTOCOL_VERSION}")
        pickle_machine.load(data)  # about the machine that wrote it: its storages are little-endian
        references: list[PersistentId] = []
        tree = pickle_machine.load(data, references)
        keys = pickle_machine.load(data)

        # a storage's size needs its element type, which only the references to it know
        widths: dict[str, int] = {}
        for fields in (reference.fields for reference in references):
            if fields[:1] != ("module",):  # a class that is pickled with its source
                widths.setdefault(_storage(fields)[0], _storage_dtype(fields).itemsize)
        storages = {}
        if not isinstance(keys, list):
            raise WeightsError(f"the list of storages is {shown(keys)}")
        for key in map(_key, keys):
            counted = data.read(8)
            size = int.from_bytes(counted, "little") * widths.get(key, 1)
            storages[key] = data.read(min(size, len(data)))
            if len(counted) != 8 or len(storages[key]) != size:
                raise WeightsError(f"truncated: storage {shown(key)} should have {size} bytes")

        def read_storage(key: str, size: int) -> bytes:
            if key not in storages:
                raise WeightsError(f"the file has no storage {shown(key)}")
            if len(storages[key]) != size:
                raise WeightsError(
                    f"storage {shown(key)} has {len(storages[key])} bytes, its tensors want "
                    f"{shown(size)}"
                )
            return storages[key]

        return _fill(tree, read_storage, big_endian=False)


def _map(tree: Any, on_tensor: Callable[[TensorRecord], Any]) -> Any:
    """A copy of the tree with every TensorRecord replaced; shared nodes are visited once."""
    done: dict[int, Any] = {}
    open_nodes: set[int] = set()

    def visit(node: Any) -> Any:
        if not isinstance(node, (TensorRecord, dict, list, tuple)):
            return node
        if id(node) in open_nodes:
            raise WeightsError("an object contains itself")
        if len(open_nodes) > _MAX_DEPTH:
            raise WeightsError(f"more than {_MAX_DEPTH} nested containers")
        if id(node) not in done:
            open_nodes.add(id(node))
            if isinstance(node, TensorRecord):
                done[id(node)] = on_tensor(node)
            elif isinstance(node, dict):
                done[id(node)] = {key: visit(value) for key, value in node.items()}
            elif isinstance(node, list):
                done[id(node)] = [visit(value) for value in node]
            else:
                done[id(node)] = tuple([visit(value) for value in node])
            open_nodes.remove(id(node))
        return done[id(node)]

    return visit(tree)


def _key(key: Any) -> str:
    if not isinstance(key, (str, int)):
        raise WeightsError(f"a storage is named by {shown(key)}")
    return str(key)


def _storage(fields: tuple) -> tuple[str, int, int]:
    """A reference to a storage: its key, its number of elements, and the first one referred to."""
    if len(fields) < 5:
        raise WeightsError(f"a storage is described by {len(fields)} fields; wanted 5")
    _, _, key, _, count, *view = fields
    start: Any = 0
    if view and view[0]:  # (key, offset, size): a view of another storage, before PyTorch 0.4
        start = view[0][1] if isinstance(view[0], tuple) and len(view[0]) > 1 else None
    if not all(type(size) is int and 0 <= size < 2**63 for size in (count, start)):
        raise WeightsError(f"a storage has {shown(count)} elements, from {shown(start)} on")
    return _key(key), count, start


def _storage_dtype(fields: tuple) -> np.dtype:
    kind, storage_type, *_ = fields
    if kind != "storage" or not isinstance(storage_type, Global):
        raise WeightsError(f"a tensor refers to {shown(kind)}, not to a storage")
    module, _, name = storage_type.name.rpartition(".")
    if name == "UntypedStorage":  # its tensors name their dtype
        return np.dtype(np.uint8)
    if module not in ("torch", "torch.cuda") or name not in _STORAGE_TYPES:
        raise WeightsError(f"tensors of {shown(storage_type)} are not supported")
    return np.dtype(_STORAGE_TYPES[name])


def _fill(tree: Any, read_storage: ReadStorage, *, big_endian: bool) -> Any:
    """Replaces every TensorRecord in the tree by an array; each storage is read once."""
    read_already: dict[str, bytes] = {}
    flats: dict[tuple[str, np.dtype], np.ndarray] = {}

    def array(tensor: TensorRecord) -> np.ndarray:
        key, count, start = _storage(tensor.storage)
        dtype = stored = _storage_dtype(tensor.storage)
        if tensor.dtype is not None:
            name = tensor.dtype.name.removeprefix("torch.")
            if name not in _DTYPES:
                raise WeightsError(f"tensors of {shown(name)} are not supported")
            dtype = np.dtype(_DTYPES[name])
        if key not in read_already:
            read_already[key] = read_storage(key, count * stored.itemsize)
        if (key, dtype) not in flats:
            flat = np.frombuffer(read_already[key], dtype)
            flats[key, dtype] = flat.byteswap() if big_endian else flat
        flat = flats[key, dtype]
        return _strided(flat, start + tensor.offset, tensor.shape, tensor.strides)

    return _map(tree, array)


def _strided(flat: np.ndarray, start: int, shape: tuple, strides: tuple) -> np.ndarray:
    """A strided view of `flat`, after checking that it stays inside."""
    if 0 in shape:
        return np.empty(shape, flat.dtype)
    last = start + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if last >= flat.size:
        raise WeightsError(
            f"a tensor of shape {shape} reaches element {last} of a storage that has {flat.size}"
        )
    steps = tuple(stride * flat.itemsize for stride in strides)
    raw = flat[start:].view(f"V{flat.itemsize}")  # numpy cannot stride float8 itself
    return np.lib.stride_tricks.as_strided(raw, shape, steps, writeable=False).view(flat.dtype)
