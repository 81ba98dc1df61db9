"""ONNX files, run by onnxruntime."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax import run
from cnn_jax.boxes.nms import nms
from cnn_jax.run import exporting
from cnn_jax.run.exporting import onnx_file, onnx_program
from cnn_jax.run.exporting.function import Function, Output

onnx = pytest.importorskip("onnx", reason="the extra `onnx` is not installed")
pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")


@pytest.fixture(scope="module")
def lenet():
    return exporting.open_network("lenet5", num_classes=3)


def computed(call, x, path, *, batch=0, opset=18):
    """The outputs of a function, by onnxruntime and by JAX."""
    names = [Output(f"y{i}", "") for i in range(len(jax.eval_shape(call, x)))]
    function = Function(lambda _, x: call(x), {}, x.shape[1:], x.dtype, tuple(names))
    onnx_file.write(function, path, batch=batch, opset=opset, description={})
    return onnx_file.outputs(path, {"x": x})["x"], jax.jit(call)(x)


@pytest.mark.parametrize("opset", [13, 18])
def test_a_classifier_of_any_batch(lenet, tmp_path, opset):
    made = run.export(lenet, tmp_path / "net.onnx", opset=opset)
    assert made.difference.largest <= 1e-6
    file = onnx.load(str(made.files[0]))
    assert [one.version for one in file.opset_import] == [opset]
    said = json.loads(made.files[-1].read_text())
    assert said["checked"]["by"].startswith("onnxruntime")
    inside = json.loads(file.metadata_props[0].value)
    assert inside["class_names"] == said["class_names"] == ["0", "1", "2"]
    (given,) = file.graph.input
    sizes = [d.dim_param or d.dim_value for d in given.type.tensor_type.shape.dim]
    assert (given.name, sizes) == ("image", ["batch", 32, 32, 1])


def test_an_opset_that_is_not_written_is_refused(lenet, tmp_path):
    for opset in (12, 99):
        with pytest.raises(ValueError, match=rf"opset={opset}: wanted 13 to \d+"):
            run.export(lenet, tmp_path / "net.onnx", opset=opset)
    assert not list(tmp_path.iterdir())


def test_suppression_in_batches_equals_ours(tmp_path):
    def call(x):
        corners = jnp.concatenate([x[..., :2], x[..., :2] + x[..., 2:4]], -1)

        def one(corners, scores):
            best, place = jax.lax.top_k(scores, 30)
            kept = nms(corners[place], best, threshold=0.3, size=8, valid=best > 0.2)
            return place[kept.indices], kept.valid

        return (
            *jax.vmap(one)(corners, x[..., 4]),
            *jax.lax.map(lambda e: one(*e), (corners, x[..., 4])),
        )

    rng = np.random.default_rng(0)
    x = rng.random((3, 40, 5)).astype(np.float32)
    x[0, :, 4] = 0.1  # an image without an object ends its loop at once
    found, want = computed(call, x, tmp_path / "nms.onnx")
    for a, b in zip(found, want, strict=True):
        np.testing.assert_array_equal(a, b)
    assert 0 < want[1].sum() < want[1].size


def test_operations_that_no_small_network_has(tmp_path):
    w = np.random.default_rng(1).normal(size=(3, 3, 4, 6)).astype(np.float32)
    numbers = ("NHWC", "HWIO", "NHWC")

    def call(x):
        windows = (1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (1, 2), (0, 0))
        sums = jax.lax.reduce_window(x, 0.0, jax.lax.add, *windows)
        most = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, *windows)
        dilated = jax.lax.conv_general_dilated(
            x, w, (1, 1), ((2, 1), (1, 2)), lhs_dilation=(2, 2), dimension_numbers=numbers
        )
        grouped = jax.lax.conv_general_dilated(
            x, w[:, :, :2], (2, 1), "SAME", dimension_numbers=numbers, feature_group_count=2
        )
        product = jnp.einsum("bhwc,bhvc->bwv", x, x)
        places = x[..., 0].argmax(-1)[..., None]
        rows = jnp.take_along_axis(x, places[..., None], axis=2)
        ordered = jnp.sort(x, axis=1), jnp.flip(x, 2), jnp.cumsum(x, 1), jnp.round(x)
        _, reverse = jax.lax.scan(
            lambda c, y: (c + y, c * y), x[:, 0], x.swapaxes(0, 1), reverse=True
        )
        truth = (x > 0).any(2), (x > -1).all((1, 2)), jnp.where(x > 0, 1, 2) // 2 % 3
        padded = jnp.pad(x, ((0, 0), (1, 0), (0, 2), (0, 0)), constant_values=0.5)
        shrunk = jax.lax.pad(x, 0.0, ((0, 0, 0), (-1, 0, 0), (0, -2, 0), (0, 0, 0)))
        first, *_, last = jnp.unstack(x, axis=2)
        stacked = jnp.stack([first, last], 1), jnp.tile(first, (1, 2, 1))
        smooth = jax.nn.gelu(x, approximate=False), jax.nn.silu(x), jnp.log1p(x**2)
        return (sums, most, dilated, grouped, product, rows, *ordered, reverse, *truth, padded,
                shrunk, *stacked, *smooth, x - x.mean((1, 2), keepdims=True))  # fmt: skip

    x = np.random.default_rng(0).normal(size=(2, 7, 8, 4)).astype(np.float32)
    found, want = computed(call, x, tmp_path / "operations.onnx")
    for i, (a, b) in enumerate(zip(found, want, strict=True)):
        np.testing.assert_allclose(a, b, atol=2e-5, err_msg=str(i))
        assert a.dtype == b.dtype, i


def test_an_operation_without_a_rule_is_named(tmp_path):
    x = np.zeros((1, 4), np.float32)
    with pytest.raises(ValueError, match=r"no rule for the operation atan2.*format='stablehlo'"):
        computed(lambda x: (jnp.arctan2(x, x + 1),), x, tmp_path / "net.onnx")
    assert "atan2" not in onnx_program.RULES


@pytest.mark.slow
def test_boxes_masks_and_sequences(tmp_path):
    for name, size in (("detector_small", 64), ("unet_small", 32), ("gru", 0), ("mc3_18", 32)):
        sides = (size, size) if size else None
        network = exporting.open_network(name, num_classes=2, image_size=sides)
        made = run.export(network, tmp_path / f"{name}.onnx")
        assert made.difference.largest <= 1e-5, name
        assert made.difference.unmatched == 0, name
