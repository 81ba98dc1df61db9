"""Weights as people save them: beside a training script's own objects, under prefixes, or not the
weights at all."""

import argparse
import collections
import pathlib
import pickle
import struct
import types

import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from cnn_jax import models, weights
from cnn_jax.models.registry import describe
from cnn_jax.weights import choosing, files
from cnn_jax.weights.errors import WeightsError
from cnn_jax.weights.pickle_records import Opaque

NAME = "squeezenet1_1"


@pytest.fixture(scope="module")
def model():
    return models.create(NAME, num_classes=5)


@pytest.fixture(scope="module")
def template(model):
    shapes = jax.eval_shape(
        lambda x: model.init(jax.random.key(0), x, train=False), np.zeros((1, 64, 64, 3), "f4")
    )
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)


@pytest.fixture(scope="module")
def tensors(template):
    rules = describe(NAME).rules["torchvision"]
    return weights.export_torch(template, rules)


def loads(path, model, template) -> bool:
    """Whether the file gives the numbers that it was made of."""
    read = models.load_pretrained(str(path), NAME, model, template=template)
    jax.tree.map(np.testing.assert_array_equal, read.variables, dict(template))
    return True


class Settings:
    """A class of the script itself, which nobody else can import."""

    def __init__(self):
        self.rate = 0.1


class Level(types.SimpleNamespace):
    pass


BESIDE = {
    "namespace": lambda torch: argparse.Namespace(lr=0.1, layers=[1, 2]),
    "own class": lambda torch: Settings(),
    "subclass": lambda torch: Level(a={"b": Settings()}),
    "scalar": lambda torch: np.float64(0.9),
    "array": lambda torch: np.arange(3),
    "path": lambda torch: pathlib.PurePosixPath("/x"),
    "defaultdict": lambda torch: collections.defaultdict(list, a=[1]),
    "counter": lambda torch: collections.Counter("abca"),
    "set": lambda torch: {1, 2, frozenset({3})},
    "complex": lambda torch: 1j,
    "device": lambda torch: torch.device("cpu"),
    "dtype": lambda torch: torch.float32,
    "sparse": lambda torch: torch.eye(3).to_sparse(),
    "module": lambda torch: torch.nn.Linear(2, 2),
    "generator": lambda torch: torch.get_rng_state(),
    "optimizer": lambda torch: {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{}]},
}


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kind", BESIDE)
def test_what_training_scripts_save_beside_them(
    tmp_path, model, template, tensors, kind, zipped, protocol
):
    torch = pytest.importorskip("torch")
    state = {name: torch.tensor(np.array(array)) for name, array in tensors.items()}
    beside = BESIDE[kind](torch)
    path = tmp_path / "a.ckpt"
    torch.save(
        {"epoch": 3, "hyper_parameters": beside, "state_dict": state, "after": [beside, beside]},
        path,
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=zipped,
    )
    assert loads(path, model, template)


def test_a_whole_network_is_named():
    """As `torch.save(model, path)` writes it."""
    opaque = Opaque("timm.models.resnet.ResNet")
    with pytest.raises(WeightsError, match=r"a whole object, of 'timm\.models\.resnet\.ResNet'"):
        choosing.state_dict_of(pathlib.Path("a.pth"), opaque)


@pytest.mark.parametrize(
    "prefix",
    ["_orig_mod.", "module.", "model.", "net.", "backbone.", "model._orig_mod.", "my.own."],
)
def test_prefixes(tmp_path, model, template, tensors, prefix):
    path = tmp_path / "a.safetensors"
    files.write(path, {prefix + name: array for name, array in tensors.items()}, {})
    assert loads(path, model, template)


def test_a_prefix_that_one_name_lacks_stays(tmp_path):
    path = tmp_path / "a.safetensors"
    named = {"module.a": np.zeros(1, "f4"), "b": np.zeros(1, "f4")}
    files.write(path, named, {})
    assert set(files.read(path).tensors) == set(named)


def test_counters_of_profilers(tmp_path, model, template, tensors):
    path = tmp_path / "a.safetensors"
    counters = {"total_ops": np.zeros(1), "features.0.total_params": np.zeros(1)}
    files.write(path, {**tensors, **counters}, {})
    assert loads(path, model, template)


def test_a_header_whose_length_reads_as_a_zip(tmp_path, model, template, tensors):
    """0x4b50 bytes of header begin with 'PK', as zip archives do."""
    contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    (length,) = struct.unpack("<Q", safetensors.numpy.save(contiguous, {"note": ""})[:8])
    data = safetensors.numpy.save(contiguous, {"note": "x" * (0x4B50 - length)})
    assert data[:2] == b"PK"
    (tmp_path / "a.safetensors").write_bytes(data)
    assert loads(tmp_path / "a.safetensors", model, template)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64, "Git LFS pointer"),
        (b"\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>\n", "a web page"),
        (b"<HTML><body>404</body>", "a web page"),
        (b"", "is empty"),
        (b"\x1f\x8b\x08" + bytes(100), "gzip"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
    ],
    ids=["pointer", "page", "older page", "empty", "gzip", "hdf5"],
)
def test_what_is_in_the_place_of_weights_is_named(tmp_path, content, what, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=rf"{path}: .*{what}"):
        files.read(path)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda a: (a * 10).astype(np.int8), "of int8"),
        (lambda a: np.clip(a * 100 + 128, 0, 255).astype(np.uint8), "of uint8"),
        (lambda a: a > 0, "of bool"),
        (lambda a: np.full_like(a, np.nan), "NaN"),
        (lambda a: np.where(a == a.max(), np.inf, a), "infinite"),
        (lambda a: a.astype(np.complex64), "of complex64"),
    ],
    ids=["int8", "uint8", "bool", "nan", "inf", "complex"],
)
def test_what_is_no_weight_is_an_error(tmp_path, model, template, tensors, change, what):
    (name, kernel), *_ = ((name, a) for name, a in tensors.items() if a.ndim > 1)
    path = tmp_path / "a.safetensors"
    files.write(path, {**tensors, name: change(kernel)}, {})
    with pytest.raises(WeightsError, match=what) as caught:
        models.load_pretrained(str(path), NAME, model, template=template)
    assert name in str(caught.value)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_precisions_are_weights(tmp_path, model, template, tensors, dtype):
    path = tmp_path / "a.safetensors"
    files.write(path, {name: array.astype(dtype) for name, array in tensors.items()}, {})
    read = models.load_pretrained(str(path), NAME, model, template=template).variables
    np.testing.assert_allclose(
        jax.tree.leaves(read)[0], jax.tree.leaves(dict(template))[0], atol=0.05
    )


def test_a_command_in_what_is_beside_them_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return exec, ("raise SystemExit",)

    header = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {"w": Evil()}, []]
    (tmp_path / "a.pth").write_bytes(b"".join(pickle.dumps(part, 2) for part in header))
    with pytest.raises(WeightsError, match=r"asks to call \w+\.exec, which is not allowed"):
        files.read(tmp_path / "a.pth")
