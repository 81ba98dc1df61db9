"""Weights files: what is told apart, and one clear error for each kind of damage."""

import json
import struct

import ml_dtypes
import numpy as np
import pytest

from cnn_jax.weights import files
from cnn_jax.weights.errors import WeightsError


def safetensors_bytes(header: dict, data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(shape, offsets, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def test_what_is_written_is_read_back(tmp_path):
    tensors = {
        "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3).T,  # not contiguous
        "b": np.asarray(2.5, ml_dtypes.bfloat16).reshape(1),
        "c": np.arange(3),
    }
    files.write(tmp_path / "a.safetensors", tensors, {"model": "x"})
    read = files.read(tmp_path / "a.safetensors")
    assert read.metadata == {"model": "x"}
    assert set(read.tensors) == set(tensors)
    for name, array in tensors.items():
        assert read.tensors[name].dtype == array.dtype
        np.testing.assert_array_equal(read.tensors[name], array)
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_every_dtype_by_hand(tmp_path):
    header = {"w": entry([2], [0, 4], "BF16"), "v": entry([3], [4, 7], "BOOL")}
    (tmp_path / "a.safetensors").write_bytes(
        safetensors_bytes(header, np.array([1, -2], ml_dtypes.bfloat16).tobytes() + b"\1\0\1")
    )
    read = files.read(tmp_path / "a.safetensors").tensors
    np.testing.assert_array_equal(read["w"].astype(np.float32), [1, -2])
    np.testing.assert_array_equal(read["v"], [True, False, True])


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ({"w": entry([4], [0, 16])}, bytes(12)),  # the file is shorter than the header says
        ({"w": entry([4], [0, 16])}, bytes(20)),  # and longer
        ({"w": entry([5], [0, 16])}, bytes(16)),  # the shape is larger than its bytes
        ({"w": entry([2**40, 2**40], [0, 16])}, bytes(16)),  # a product that overflows
        ({"w": entry([4], [16, 0])}, bytes(16)),
        ({"w": entry([2], [0, 8]), "v": entry([2], [4, 12])}, bytes(12)),  # overlapping
        ({"w": entry([2], [0, 8]), "v": entry([2], [12, 20])}, bytes(20)),  # a hole
        ({"w": entry([-4], [0, 16])}, bytes(16)),
        ({"w": entry([4], [0, 16], "F31")}, bytes(16)),
    ],
)
def test_a_header_that_lies(tmp_path, header, data):
    (tmp_path / "a.safetensors").write_bytes(safetensors_bytes(header, data))
    with pytest.raises(WeightsError, match=r"a\.safetensors: .*header"):
        files.read(tmp_path / "a.safetensors")


def test_a_header_larger_than_the_file(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", 2**60) + b"{}")
    with pytest.raises(WeightsError, match="header"):
        files.read(tmp_path / "a.safetensors")


def test_a_truncated_safetensors_file_at_every_length(tmp_path):
    files.write(tmp_path / "a.safetensors", {"w": np.zeros(5, np.float32)}, {})
    whole = (tmp_path / "a.safetensors").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "a.safetensors").write_bytes(whole[:length])
        with pytest.raises(WeightsError):
            files.read(tmp_path / "a.safetensors")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + bytes(600), bytes(4096)])
def test_some_other_file(tmp_path, content):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=r"a\.pth"):
        files.read(tmp_path / "a.pth")


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        files.read(tmp_path / "a.pth")


@pytest.mark.parametrize("nested", [None, "state_dict", "model"])
@pytest.mark.parametrize("parallel", [False, True])
def test_checkpoints_of_training_scripts(tmp_path, nested, parallel):
    torch = pytest.importorskip("torch")
    module = torch.nn.Linear(3, 2)
    tensors = (torch.nn.DataParallel(module) if parallel else module).state_dict()
    saved = tensors if nested is None else {nested: tensors, "epoch": 3, "best": 0.5}
    torch.save(saved, tmp_path / "a.pth")
    read = files.read(tmp_path / "a.pth").tensors
    assert set(read) == {"weight", "bias"}
    np.testing.assert_array_equal(read["weight"], module.weight.detach().numpy())


@pytest.mark.parametrize("saved", [[1, 2], {}, {"epoch": 3}, {"w": None}])
def test_not_a_state_dict(tmp_path, saved):
    torch = pytest.importorskip("torch")
    torch.save(saved, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="not a state dict"):
        files.read(tmp_path / "a.pth")
