"""The reader of PyTorch's files, against torch.load(weights_only=True), and against bad files."""

import io
import os
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

from cnn_jax.weights import files, pickle_machine, pth
from cnn_jax.weights.errors import WeightsError
from cnn_jax.weights.pickle_records import Opaque


class Evil:
    """Unpickling this runs a command that leaves a file behind."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def zip_checkpoint(path, pickled: bytes, entries=(), *, compress=zipfile.ZIP_STORED):
    """A file as torch.save lays it out, around any pickle."""
    with zipfile.ZipFile(path, "w", compress) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", b"little")
        for name, data in entries:
            archive.writestr(f"archive/{name}", data)


class _StorageId:
    def __init__(self, fields):
        self.fields = fields


class _Pickler(pickle.Pickler):
    """Writes the same pickle as torch.save for float32 tensors, without torch."""

    def persistent_id(self, obj):
        return obj.fields if isinstance(obj, _StorageId) else None


def torch_pickle(tensors: dict[str, tuple]) -> bytes:
    """name -> (key, count, offset, shape, strides); the globals are spelled as torch's."""

    def stand_in(module, name):
        return type(name, (), {"__module__": module, "__qualname__": name})

    float_storage = stand_in("torch", "FloatStorage")
    rebuild = stand_in("torch._utils", "_rebuild_tensor_v2")

    class Tensor:
        def __init__(self, key, count, offset, shape, strides):
            storage = _StorageId(("storage", float_storage, key, "cpu", count))
            self.arguments = (storage, offset, shape, strides, False, OrderedDict())

        def __reduce__(self):
            return rebuild, self.arguments

    import sys
    import types

    modules = {"torch": types.ModuleType("torch"), "torch._utils": types.ModuleType("_utils")}
    modules["torch"].FloatStorage = float_storage
    modules["torch._utils"]._rebuild_tensor_v2 = rebuild
    saved = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        file = io.BytesIO()
        _Pickler(file, protocol=2).dump({k: Tensor(*v) for k, v in tensors.items()})
    finally:
        for name, module in saved.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
    return file.getvalue()


def test_a_tensor_by_hand(tmp_path):
    values = np.arange(6, dtype="<f4")
    pickled = torch_pickle({"w": ("0", 6, 0, (3, 2), (1, 3)), "v": ("0", 6, 4, (2,), (1,))})
    zip_checkpoint(tmp_path / "a.pth", pickled, [("data/0", values.tobytes())])
    loaded = pth.read(tmp_path / "a.pth")
    np.testing.assert_array_equal(loaded["w"], values.reshape(2, 3).T)
    np.testing.assert_array_equal(loaded["v"], [4, 5])


@pytest.mark.parametrize("container", ["zip", "bare"])
def test_code_in_a_pickle_does_not_run(tmp_path, container):
    target, path = tmp_path / "broken-into", tmp_path / "evil.pth"
    pickled = pickle.dumps({"weight": Evil(target)}, protocol=2)
    if container == "zip":
        zip_checkpoint(path, pickled)
    else:
        header = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
        path.write_bytes(b"".join(pickle.dumps(x, 2) for x in header) + pickled)
    with pytest.raises(WeightsError, match=r"asks to call \w+.mkdir.*not been run"):
        pth.read(path)
    assert not target.exists()


def test_attributes_are_not_set_on_what_the_machine_calls():
    # GLOBAL the rebuilder, then BUILD a new default argument into it.
    program = b"ctorch._utils\n_rebuild_tensor_v2\n}X\x0c\x00\x00\x00__defaults__)sb."
    with pytest.raises(WeightsError, match="a dict was wanted"):
        pickle_machine.load(io.BytesIO(program))


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (b"", "damaged"),
        (b"(lp0\ni0\n", "damaged|not allowed"),
        (b"0.", "not allowed"),
        (b"N\x85R.", "damaged"),
        (b"]}s.", "damaged"),
        (b"X\xff\xff\xff\x7fabc.", "damaged"),
        (b"(cos\nsystem\nX\x02\x00\x00\x00lso.", "not allowed"),
        (b"cos\nsystem\n)\x81.", "not allowed"),
        (b"\x82\x01.", "not allowed"),
    ],
)
def test_unexpected_instructions_are_one_clear_error(program, message):
    with pytest.raises(WeightsError, match=message):
        pickle_machine.load(io.BytesIO(program))


def test_an_object_that_contains_itself(tmp_path):
    loop = []
    loop.append(loop)
    zip_checkpoint(tmp_path / "a.pth", pickle.dumps(loop, 2))
    with pytest.raises(WeightsError, match="contains itself"):
        pth.read(tmp_path / "a.pth")


def test_shared_lists_do_not_take_exponential_time(tmp_path):
    node = ["leaf"]
    for _ in range(60):
        node = [node, node]
    zip_checkpoint(tmp_path / "a.pth", pickle.dumps(node, 2))
    assert len(pth.read(tmp_path / "a.pth")) == 2


@pytest.mark.parametrize(
    ("tensor", "stored", "message"),
    [
        (("0", 6, 0, (3, 2), (2, 1)), 20, "has 20 bytes, its tensors want 24"),
        (("0", 6, 4, (3,), (1,)), 24, "reaches element 6 of a storage that has 6"),
        (("0", 6, 0, (2, 2), (1, 5)), 24, "reaches element 6"),
        (("1", 6, 0, (6,), (1,)), 24, "no entry 'data/1'"),
        (("0", 6, 0, (6,), (-1,)), 24, "strides"),
        (("0", 6, 0, (6, 1), (1,)), 24, "strides"),
    ],
)
def test_tensors_that_lie_about_their_storage(tmp_path, tensor, stored, message):
    zip_checkpoint(tmp_path / "a.pth", torch_pickle({"w": tensor}), [("data/0", bytes(stored))])
    with pytest.raises(WeightsError, match=message):
        pth.read(tmp_path / "a.pth")


def test_a_truncated_file_at_every_length(tmp_path):
    pickled = torch_pickle({"w": ("0", 6, 0, (6,), (1,))})
    zip_checkpoint(tmp_path / "whole.pth", pickled, [("data/0", bytes(24))])
    whole = (tmp_path / "whole.pth").read_bytes()
    for length in range(0, len(whole) - 1, 7):
        (tmp_path / "cut.pth").write_bytes(whole[:length])
        with pytest.raises(WeightsError):
            pth.read(tmp_path / "cut.pth")


def test_a_flipped_bit_is_noticed(tmp_path):
    pickled = torch_pickle({"w": ("0", 256, 0, (256,), (1,))})
    zip_checkpoint(tmp_path / "a.pth", pickled, [("data/0", b"\x07" * 1024)])
    data = bytearray((tmp_path / "a.pth").read_bytes())
    data[data.index(b"\x07" * 1024) + 500] ^= 1
    (tmp_path / "a.pth").write_bytes(data)
    with pytest.raises(WeightsError, match="CRC"):
        pth.read(tmp_path / "a.pth")


@pytest.mark.parametrize("entry", ["constants.pkl", None])
def test_other_zip_files(tmp_path, entry):
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr(f"archive/{entry or 'readme'}", b"")
    with pytest.raises(WeightsError, match="TorchScript" if entry else "not written by torch.save"):
        pth.read(tmp_path / "a.pth")


# Against torch itself.


def _variety(torch, *, zipped):
    base = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    dtypes = [
        torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16,
        torch.int8, torch.uint8, torch.bool, torch.complex64, torch.complex128,
    ]  # fmt: skip
    if zipped:  # torch 2.14 cannot read these back from its old container
        dtypes += [torch.uint16, torch.uint32, torch.float8_e4m3fn, torch.float8_e5m2]
    tree = OrderedDict((str(dtype), base.to(dtype)) for dtype in dtypes)
    tree["base"] = base
    tree["transposed"] = base.permute(2, 0, 1)
    tree["slice"] = base[:, 1:, ::2]
    tree["expanded"] = base[0, 0].expand(5, 4)
    tree["scalar"] = torch.tensor(3.5)
    tree["empty"] = torch.empty(0, 7)
    tree["channels_last"] = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    tree["parameter"] = torch.nn.Parameter(torch.randn(3))
    tree["nested"] = {"list": [1, 2.5, "three", None, True, (base, 2**70)], 7: torch.Size([1, 2])}
    return tree


def _assert_same(torch, ours, theirs):
    if isinstance(theirs, torch.Tensor):
        assert isinstance(ours, np.ndarray)
        assert ours.shape == tuple(theirs.shape)
        assert str(ours.dtype) == str(theirs.dtype).removeprefix("torch.")
        wide = torch.complex128 if theirs.is_complex() else torch.float64
        expected = theirs.detach().to(wide).numpy()
        np.testing.assert_array_equal(ours.astype(expected.dtype), expected)
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key in theirs:
            _assert_same(torch, ours[key], theirs[key])
    elif isinstance(theirs, (list, tuple)):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            _assert_same(torch, one, other)
    else:
        assert ours == theirs


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
def test_equal_to_torch_load(tmp_path, zipped, protocol):
    torch = pytest.importorskip("torch")
    path = tmp_path / "a.pth"
    tree = _variety(torch, zipped=zipped)
    torch.save(tree, path, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    theirs = torch.load(path, weights_only=True) if protocol == 2 else tree
    _assert_same(torch, pth.read(path), theirs)


def test_a_state_dict_with_its_metadata(tmp_path):
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    torch.save(module.state_dict(), tmp_path / "a.pth")
    _assert_same(torch, pth.read(tmp_path / "a.pth"), module.state_dict())


def test_the_big_endian_mark(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"w": torch.arange(5.0)}, tmp_path / "little.pth")
    with (
        zipfile.ZipFile(tmp_path / "little.pth") as little,
        zipfile.ZipFile(tmp_path / "big.pth", "w") as big,
    ):
        for name in little.namelist():
            data = little.read(name)
            if name.endswith("byteorder"):
                data = b"big"
            if "/data/" in name:
                data = np.frombuffer(data, "<f4").astype(">f4").tobytes()
            big.writestr(name, data)
    np.testing.assert_array_equal(pth.read(tmp_path / "big.pth")["w"], np.arange(5.0))


@pytest.mark.parametrize("kind", ["module", "sparse", "numpy"])
def test_what_is_no_tensor_is_not_made(tmp_path, kind):
    torch = pytest.importorskip("torch")
    tree = {
        "module": lambda: torch.nn.Linear(2, 2),
        "sparse": lambda: torch.eye(3).to_sparse(),
        "numpy": lambda: np.arange(3),
    }
    torch.save({"x": tree[kind]()}, tmp_path / "a.pth")
    assert isinstance(pth.read(tmp_path / "a.pth")["x"], Opaque)
    with pytest.raises(WeightsError, match=r"'x' \('[\w.]+'\) holds no tensor"):
        files.read(tmp_path / "a.pth")
