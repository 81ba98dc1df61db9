"""Random and randomly damaged weights files: the numbers that are in them, or one clear line.

A share of them runs by default; the whole, 1,000 of each format, by

    pytest -n0 -m exhaustive tests/weights/test_random_files.py

Where PyTorch is installed, what is read of a PyTorch file is compared with what it reads.
"""

import contextlib
import importlib.util
import io
import json
import pickle
import signal
import struct
import tracemalloc
import zipfile

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnn_jax.weights import files
from cnn_jax.weights.errors import WeightsError

SECONDS, MEGABYTES = 5, 64  # for files of a few kB
SHARE, WHOLE = 20, 1000
LONGEST = 600  # characters of a message

KINDS = {
    "Float": np.float32,
    "Double": np.float64,
    "Half": np.float16,
    "BFloat16": ml_dtypes.bfloat16,
    "Long": np.int64,
    "Char": np.int8,
    "Byte": np.uint8,
    "Bool": np.bool_,
}
SIZES = {"short": 2, "int": 4, "long": 4}
NAMES = st.text("abw01._/é", min_size=1, max_size=12)
SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@st.composite
def networks(draw) -> dict[str, np.ndarray]:
    made = {}
    for name in draw(st.lists(NAMES, min_size=1, max_size=4, unique=True)):
        kind = np.dtype(draw(st.sampled_from([*KINDS.values()])))
        shape = draw(SHAPES)
        content = draw(st.binary(min_size=8, max_size=8)) * max(1, int(np.prod(shape)))
        if kind.kind == "b":
            content = bytes(byte % 2 for byte in content)
        flat = np.frombuffer(content[: int(np.prod(shape)) * kind.itemsize], kind)
        made[name] = flat.reshape(shape)
    return made


def as_safetensors(network) -> bytes:
    return safetensors.numpy.save(network, {"note": "x"})


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def whole(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def sizes(values) -> bytes:
    return b"(" + b"".join(map(whole, values)) + b"t"


def program(network, view: bytes = b"") -> bytes:
    """The pickle of a state dict, as `torch.save` writes it; columns before rows.

    `view` is the last part of what names a storage in the older container.
    """
    made = b"\x80\x02ccollections\nOrderedDict\n)R("
    for key, (name, array) in enumerate(network.items()):
        kind = next(kind for kind, dtype in KINDS.items() if array.dtype == dtype)
        strides = np.cumprod([1, *array.shape[:-1]]) if array.ndim else ()
        made += text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n(("
        made += text("storage") + f"ctorch\n{kind}Storage\n".encode() + text(str(key))
        made += text("cpu") + whole(array.size) + view + b"tQ" + whole(0)
        made += (
            sizes(array.shape) + sizes(map(int, strides)) + b"\x89ccollections\nOrderedDict\n)RtR"
        )
    return made + b"u."


def storages(network) -> list[bytes]:
    return [array.tobytes(order="F") for array in network.values()]


def as_zip(network) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", program(network))
        archive.writestr("archive/byteorder", b"little")
        archive.writestr("archive/version", b"3\n")
        for key, data in enumerate(storages(network)):
            archive.writestr(f"archive/data/{key}", data)
    return file.getvalue()


def as_older(network) -> bytes:
    """The container of PyTorch before 1.6."""
    about = {"little_endian": True, "protocol_version": 1001, "type_sizes": SIZES}
    head = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, about)]
    keys = pickle.dumps([str(key) for key in range(len(network))], 2)
    counted = [
        struct.pack("<q", array.size) + data
        for array, data in zip(network.values(), storages(network), strict=True)
    ]
    return b"".join([*head, program(network, b"N"), keys, *counted])


WRITERS = {
    "safetensors": (as_safetensors, ".safetensors"),
    "zip": (as_zip, ".pth"),
    "older": (as_older, ".pth"),
}
# Bytes that mean something where they land: sizes, instructions, signs.
TELLING = [
    *(struct.pack("<Q", size) for size in (0, 1, 2**31 - 1, 2**32, 2**62, 2**64 - 1)),
    *(struct.pack("<I", size) for size in (0, 2**31, 2**32 - 1)),
    *(b".", b"(", b"R", b"Q", b"\x81", b"b", b"s", b"]", b"}", b"{", b'"', b"-1", b"1e99", b"null"),
    *(b"PK\x03\x04", b"F8_E4M3", b"F4", b"C64", b"cos\nsystem\n", b"HalfStorage", b"torch"),
]


@st.composite
def damages(draw, data: bytes) -> bytes:
    """The file, cut, overwritten, repeated or with something put in, at a few places."""
    for _ in range(draw(st.integers(1, 3))):
        last = max(0, len(data) - 1)
        at = draw(st.one_of(st.integers(0, last), st.integers(max(0, last - 40), last)))
        long = draw(st.integers(1, 24))
        other = draw(st.one_of(st.sampled_from(TELLING), st.binary(min_size=1, max_size=8)))
        how = draw(st.sampled_from(["cut", "drop", "over", "in", "twice", "bit"]))
        if how == "cut":
            data = data[:at]
        elif how == "drop":
            data = data[:at] + data[at + long :]
        elif how == "over":
            data = data[:at] + other + data[at + len(other) :]
        elif how == "in":
            data = data[:at] + other + data[at:]
        elif how == "twice":
            data = data[: at + long] + data[at:]
        elif data:
            changed = bytearray(data)
            changed[at] ^= 1 << draw(st.integers(0, 7))
            data = bytes(changed)
    return data


@contextlib.contextmanager
def limited():
    """Raises TimeoutError in the block after SECONDS, and fails if it took MEGABYTES."""

    def late(*_):
        raise TimeoutError(f"still busy after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MEGABYTES * 2**20
    finally:
        tracemalloc.stop()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def same(ours: np.ndarray, theirs: np.ndarray) -> bool:
    return (
        ours.dtype == theirs.dtype
        and ours.shape == theirs.shape
        and ours.tobytes() == theirs.tobytes()
    )


def by_their_library(path) -> dict[str, np.ndarray] | None:
    """What the format's own library reads; None where it reads nothing, or is not installed."""
    if path.suffix == ".safetensors":
        try:
            return safetensors.numpy.load(path.read_bytes())
        except Exception:  # of any kind: that it reads nothing is all that counts
            return None
    try:
        import torch
    except ImportError:
        return None
    try:
        tree = torch.load(path, weights_only=True)
        found = {}
        for name, tensor in tree.items():
            tensor = tensor.detach().contiguous()
            raw = (
                tensor.flatten().view(torch.uint8).numpy() if tensor.numel() else np.zeros(0, "u1")
            )
            kind = str(tensor.dtype).removeprefix("torch.")
            dtype = getattr(ml_dtypes, kind, None) or np.dtype(kind)
            found[name] = np.frombuffer(raw.tobytes(), dtype).reshape(tuple(tensor.shape))
    except Exception:
        return None
    return found


def check(data: bytes, path) -> None:
    """Reads a file, and compares."""
    path.write_bytes(data)
    with limited():
        try:
            ours = files.read(path).tensors
        except WeightsError as error:
            message = str(error)
            assert message.startswith(f"{path}: ")
            assert len(message) < LONGEST
            assert "\n" not in message
            return
    theirs = by_their_library(path)
    if theirs is None:
        return
    assert {*ours} == {*theirs}
    assert all(same(ours[name], array) for name, array in theirs.items())


def random_files(kind: str, count: int, folder) -> None:
    write, suffix = WRITERS[kind]
    path = folder / f"a{suffix}"

    @settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[*HealthCheck],
    )
    @given(data=st.data(), network=networks())
    def run(data, network):
        whole = write(network)
        path.write_bytes(whole)
        read = files.read(path).tensors
        assert {*read} == {*network}
        assert all(same(read[name], array) for name, array in network.items())
        if suffix == ".pth" and importlib.util.find_spec("torch"):
            theirs = by_their_library(path)
            assert theirs is not None
            assert all(same(theirs[name], array) for name, array in network.items())
        check(data.draw(damages(whole)), path)

    run()


@pytest.mark.parametrize("kind", WRITERS)
def test_a_share_of_random_files(kind, tmp_path):
    random_files(kind, SHARE, tmp_path)


@pytest.mark.exhaustive
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", WRITERS)
def test_random_files(kind, tmp_path):
    random_files(kind, WHOLE, tmp_path)


def test_odd_headers_of_safetensors(tmp_path):
    """Types and shapes that the format has and NumPy has not, and those that no format has."""
    for dtype, shape, size in [
        ("F4", [2], 1),
        ("F8_E8M0", [2], 2),
        ("BF16", [], 2),
        ("F32", [0, 3], 0),
        ("X", [1], 4),
        ("F32", [-1], 4),
        ("F32", [1.0], 4),
        ("F32", [2**40, 2**40], 4),
        ("F32", [1] * 100, 4),
        ("BOOL", [3], 3),
    ]:
        entry = {"w": {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}
        header = json.dumps(entry).encode()
        data = struct.pack("<Q", len(header)) + header + bytes([1, 2, 3, 4])[:size]
        check(data, tmp_path / "a.safetensors")
