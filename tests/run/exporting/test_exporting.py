"""Exported files compute what the network computes, and are not kept otherwise."""

import json
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

import cnn_jax.cpu
from cnn_jax import models, run
from cnn_jax.run import exporting
from cnn_jax.run.exporting import agreement, function, saved_model, stablehlo


@pytest.fixture(scope="module")
def lenet():
    return exporting.open_network("lenet5", num_classes=3)


@pytest.fixture(scope="module")
def written(lenet, tmp_path_factory):
    """A file that was compared in a process without this package."""
    pytest.importorskip("flatbuffers", reason="jax.export writes its files with it")
    path = tmp_path_factory.mktemp("exported") / "lenet.stablehlo"
    return path, run.export(lenet, path)


def test_stablehlo_is_compared_in_a_process_without_this_package(lenet, written):
    path, made = written
    assert made.difference.largest <= 1e-6
    low, high = made.difference.values
    assert high - low > 0.01  # of equal values, no file would differ
    network = jax.export.deserialize(bytearray(path.read_bytes()))
    images = function.function_of(lenet, normalisation="inside").example(5)
    (found,) = network.call(images)  # another batch than those that were compared
    want = [lenet._probabilities(lenet._normalise_pixels(image)[None])[0] for image in images]
    np.testing.assert_allclose(found, want, atol=1e-6)


def test_the_process_cannot_import_this_package(written, monkeypatch):
    path, _ = written
    first = stablehlo._PROGRAM.partition("import jax")[0]
    monkeypatch.setattr(stablehlo, "_PROGRAM", f"{first}import cnn_jax")
    with pytest.raises(ValueError, match=r"without cnn_jax: .*import of cnn_jax halted"):
        stablehlo.outputs(path, {})


def test_the_description_is_enough_to_run_it(written):
    path, made = written
    said = json.loads(made.files[-1].read_text())
    assert made.files[-1] == path.with_name("lenet.stablehlo.json")
    assert said["input"]["shape"] == ["batch", 32, 32, 1]
    assert (said["input"]["dtype"], said["input"]["layout"]) == ("uint8", "NHWC")
    assert said["normalisation"] == {
        "inside": True, "formula": "(pixel / 255 - mean) / std", "mean": [0.5], "std": [0.5],
    }  # fmt: skip
    assert said["outputs"][0]["shape"] == ["batch", 3]
    assert said["class_names"] == ["0", "1", "2"]
    assert said["resize"]["fraction"] == 0.875
    assert said["checked"]["bound"] == made.difference.allowed <= agreement.BOUND
    assert said["checked"]["largest_difference"] == made.difference.largest


def test_errors(lenet, written, tmp_path):
    path, _ = written
    cases = [
        ({"path": path}, r"lenet\.stablehlo exists: give another name, or overwrite=True"),
        ({"path": tmp_path / "net"}, "ends in none of .onnx, .stablehlo, .safetensors: give a for"),
        ({"path": tmp_path / "n.onnx", "format": "pb"}, "format='pb': choose from onnx, stable"),
        ({"path": tmp_path / "n.stablehlo", "batch": -1}, "batch=-1: wanted a number of images"),
        ({"path": tmp_path / "n.stablehlo", "normalisation": "no"}, "wanted 'inside' or 'beside'"),
        ({"path": tmp_path / "n.safetensors", "names": "timm"}, "lenet5 has names of cnn_jax"),
    ]
    for given, message in cases:
        with pytest.raises(ValueError, match=message):
            run.export(lenet, **given)
    assert not list(tmp_path.iterdir())


def test_packages_that_are_missing_are_named(lenet, tmp_path, monkeypatch):
    for module in ("tensorflow", "onnx"):  # as if they were not installed
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=r"needs TensorFlow .*: pip install tensorflow-cpu"):
        run.export(lenet, tmp_path / "net", format="savedmodel")
    with pytest.raises(
        ValueError, match=r"needs the package onnx .*: pip install 'cnn-jax\[onnx\]'"
    ):
        run.export(lenet, tmp_path / "net.onnx")


def test_a_file_that_computes_something_else_is_not_kept(lenet, written, tmp_path, monkeypatch):
    def other(path, examples):
        used.append(cnn_jax.cpu.status().convolutions)
        return {name: [np.full((len(x), 3), 1 / 3, np.float32)] for name, x in examples.items()}

    used = []  # ours are not for files: calls to oneDNN are in jaxlib alone
    monkeypatch.setattr(stablehlo, "outputs", other)
    with (
        cnn_jax.cpu.enabled(),
        pytest.raises(
            ValueError, match=r"largest difference is 0\.\d+, of values .* \S+e-0[56] is allowed"
        ),
    ):
        run.export(lenet, tmp_path / "net.stablehlo")
    assert used == ["XLA"]
    assert not list(tmp_path.iterdir())


def test_a_fixed_batch_also_gives_the_module_itself(lenet, written, tmp_path, monkeypatch):
    monkeypatch.setattr(stablehlo, "outputs", None)
    made = run.export(lenet, tmp_path / "net.stablehlo", batch=2, check=False)
    assert [file.name for file in made.files] == [
        "net.stablehlo", "net.stablehlo.mlir", "net.stablehlo.json",
    ]  # fmt: skip
    assert made.files[1].read_bytes().startswith(b"ML\xefR")  # MLIR's bytecode
    assert made.difference is None
    network = jax.export.deserialize(bytearray(made.files[0].read_bytes()))
    assert network.in_avals[0].shape == (2, 32, 32, 1)


def test_half_precision_becomes_float32_and_says_so(lenet):
    half = run.ClassPredictor(
        model=lenet.model.clone(dtype=jnp.bfloat16), variables=lenet.variables, facts=lenet.facts
    )
    one, two = (function.function_of(each, normalisation="inside") for each in (half, lenet))
    assert "computed in bfloat16; the file computes in float32" in one.notes[0]
    assert not two.notes
    x = one.example(2)
    np.testing.assert_array_equal(one.call(x)[0], two.call(x)[0])


def test_sequences_and_normalised_images_are_taken_as_floats(lenet):
    beside = function.function_of(lenet, normalisation="beside")
    assert beside.dtype == np.float32
    inside = function.function_of(lenet, normalisation="inside")
    x = inside.example(2)
    normalised = (x.astype(np.float32) / 255 - 0.5) / 0.5
    np.testing.assert_allclose(inside.call(x)[0], beside.call(normalised)[0], atol=1e-6)
    sequences = exporting.open_network("mnist1d_linear")
    assert function.function_of(sequences, normalisation="inside").dtype == np.float32


def test_a_network_for_fixed_batches_only_is_refused(lenet):
    class Fixed(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            return nn.Dense(3)(x.reshape(len(x), -1))

    variables = Fixed().init(jax.random.key(0), jnp.zeros((1, 32, 32, 1)), train=False)
    fixed = run.ClassPredictor(model=Fixed(), variables=variables, facts=lenet.facts)
    with pytest.raises(ValueError, match=r"any size \(.*\): give one, batch=1"):
        function.check_batch(function.function_of(fixed, normalisation="inside"))


def test_safetensors_have_a_publishers_names_or_ours(lenet, tmp_path):
    made = run.export(lenet, tmp_path / "net.safetensors")
    tensors = safetensors.numpy.load_file(made.files[0])
    assert set(tensors) == {
        f"params/{layer}/{leaf}"
        for layer in ("c1", "c3", "c5", "f6", "output")
        for leaf in ("kernel", "bias")
    }
    assert made.difference.largest == 0
    assert json.loads(made.files[-1].read_text())["names"] == "cnn_jax"
    file = str(made.files[0])
    read = models.load_pretrained(file, "lenet5", lenet.model)
    same = jax.tree.map(np.array_equal, dict(read.variables), dict(lenet.variables))
    assert all(jax.tree.leaves(same))
    with pytest.raises(ValueError, match=r"2 of another shape: params/output/bias \(\[3\], wanted"):
        models.load_pretrained(file, "lenet5", lenet.model.clone(num_classes=4))
    with pytest.raises(ValueError, match=r"missing: .*; 8 left over|missing: .*left over: params"):
        models.load_pretrained(file, "squeezenet1_1", models.create("squeezenet1_1", num_classes=3))

    published = exporting.open_network("squeezenet1_1", num_classes=4)
    made = run.export(published, tmp_path / "squeezenet.safetensors")
    assert "classifier.1.weight" in safetensors.numpy.load_file(made.files[0])
    read = models.load_pretrained(str(made.files[0]), "squeezenet1_1", published.model)
    assert read.preprocessing is not None
    assert read.preprocessing.mean == published.facts.mean
    same = jax.tree.map(np.array_equal, dict(read.variables), dict(published.variables))
    assert all(jax.tree.leaves(same))


@pytest.mark.slow
def test_saved_model(lenet, tmp_path):
    pytest.importorskip("tensorflow", reason="a SavedModel needs TensorFlow")
    made = run.export(lenet, tmp_path / "net", format="savedmodel")
    assert made.difference.largest <= 1e-6
    assert saved_model.tensorflow().saved_model.contains_saved_model(str(tmp_path / "net"))


def test_detections_are_compared_one_by_one():
    boxes = np.array([[[0, 0, 50, 50], [10, 10, 20, 20], [0, 0, 0, 0]]], np.float32)
    scores = np.array([[0.9, 0.8, 0]], np.float32)
    labels = np.array([[1, 0, -1]])
    ours = [boxes, scores, labels]
    order = [1, 0, 2]
    turned = [each[:, order] for each in ours]
    assert agreement.differ(ours, turned, (100, 100)).fine
    moved = [boxes + 0.005, scores, labels]
    assert agreement.differ(ours, moved, (100, 100)).largest == pytest.approx(5e-5, rel=0.01)
    far = [boxes + np.array([1, 0, 0, 0], np.float32), scores, labels]
    found = agreement.differ(ours, far, (100, 100))
    assert found.unmatched == 1
    assert not found.fine
    assert not agreement.differ(ours, [boxes, scores, labels + 1], (100, 100)).fine
    assert not agreement.differ(ours, [boxes[:, :2], scores[:, :2], labels[:, :2]], (9, 9)).fine
    assert not agreement.differ([scores], [scores * np.nan], None).fine


def test_what_is_allowed_follows_the_values():
    """A thousand classes have a thousandth each, of which 1e-4 would be a tenth."""
    even = np.full((2, 1000), 1e-3)
    even[:, 0] = 2e-3
    assert agreement.differ([even], [even + 9e-7], None).fine
    assert not agreement.differ([even], [even + 9e-6], None).fine
    sure = np.eye(10)
    assert agreement.differ([sure], [sure + 9e-5], None).fine
    assert not agreement.differ([sure], [sure + 2e-4], None).fine
