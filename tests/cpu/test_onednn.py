"""oneDNN's calls: right wherever they are written, and not written where they would not work."""

import itertools
import os
import subprocess
import sys
import textwrap
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import cnn_jax.cpu
from cnn_jax.cpu import (
    choose,
    geometry,
    image_windows,
    kernel_gradient,
    onednn,
    registry,
    verdict,
)

CALL = "__onednn$"


@pytest.fixture(autouse=True)
def switched_on(monkeypatch):
    """Skips where there is no oneDNN; whether there ought to be one, test_enable.py asks."""
    monkeypatch.setenv(verdict.SWITCH, "1")
    monkeypatch.setattr(choose, "LEAST_ONEDNN", 0)
    if not verdict.verdict().works:
        pytest.skip(f"without oneDNN here: {verdict.verdict().why}")
    with cnn_jax.cpu.enabled():
        yield


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def convolution(x, w, strides=(1, 1), padding="SAME", groups=1, dilation=None):
    rank = x.ndim - 2
    space = "DHW"[-rank:]
    numbers = (f"N{space}C", f"{space}IO", f"N{space}C")
    return lax.conv_general_dilated(
        x,
        w,
        strides,
        padding,
        rhs_dilation=dilation,
        dimension_numbers=numbers,
        feature_group_count=groups,
    )


def program(f, *arguments):
    return jax.jit(lambda *a: f(*a)).lower(*arguments).as_text()


X, W = random(2, 8, 8, 16), random(3, 3, 16, 8)


def test_it_is_called_for_convolutions_and_both_gradients():
    def step(x, w):
        return jax.grad(lambda x, w: convolution(x, w).sum(), (0, 1))(x, w)

    assert CALL in program(convolution, X, W)
    text = program(step, X, W)
    assert CALL in text
    assert "stablehlo.convolution" not in text


@pytest.mark.parametrize("batch", [(), (3,)])
@pytest.mark.parametrize("turned", list(itertools.product([False, True], repeat=2)))
def test_products(batch, turned):
    x, y = random(*batch, 5, 7), random(*batch, 7, 4, seed=1)
    want = x.astype(np.float64) @ y.astype(np.float64)
    if turned[0]:
        x = np.swapaxes(x, -1, -2)
    if turned[1]:
        y = np.swapaxes(y, -1, -2)
    got = jax.jit(lambda x, y: onednn.matmul(x, y, *turned))(x, y)
    np.testing.assert_allclose(got, want, atol=7 * 2**-23 * abs(want).max())


@pytest.mark.parametrize(
    ("x", "y", "dimensions", "called"),
    [
        ((2, 3, 4, 5), (5, 6), (((3,), (0,)), ((), ())), True),
        ((2, 3, 4, 5), (6, 5), (((3,), (1,)), ((), ())), True),
        ((7, 2, 3), (7, 4, 5), (((0,), (0,)), ((), ())), True),
        ((2, 3, 7, 4), (2, 3, 7, 5), (((2,), (2,)), ((0, 1), (0, 1))), True),
        ((2, 7, 4), (2, 5, 7), (((1,), (2,)), ((0,), (0,))), True),
        ((2, 7, 4), (5, 2, 7), (((1,), (2,)), ((0,), (1,))), False),  # batch axes elsewhere
        ((3, 7, 4), (7, 5), (((1,), (0,)), ((), ())), False),  # contracts a middle axis
        ((2, 3, 4, 5), (2, 3, 4, 6), (((0, 1, 2), (0, 1, 2)), ((), ())), True),  # a Dense kernel's
        ((3, 7), (3, 7), (((0, 1), (0, 1)), ((), ())), True),
        ((3, 7), (7, 3), (((0, 1), (1, 0)), ((), ())), False),  # in another order
        ((3,), (4,), (((), ()), ((), ())), False),  # nothing to sum
    ],
)
def test_dot_general(x, y, dimensions, called):
    x, y = random(*x), random(*y, seed=1)

    def product(x, y):
        return onednn.dot_general(x, y, dimensions, onednn=True)

    batched = len(dimensions[1][0]) > 0
    called &= onednn.takes_batches() or not batched
    assert (CALL in program(product, x, y)) == called
    want = lax.dot_general(x, y, dimensions)
    assert product(x, y).shape == want.shape
    np.testing.assert_allclose(jax.jit(product)(x, y), want, atol=1e-5)


LAYERS = [  # x, w, strides, padding, groups, dilation
    ((2, 9, 4), (3, 4, 8), (2,), [(1, 0)], 1, (1,)),
    ((2, 7, 6, 4), (3, 2, 4, 8), (1, 2), [(2, 0), (0, 1)], 1, (1, 2)),
    ((2, 7, 6, 4), (1, 1, 4, 8), (1, 1), [(3, 1), (0, 5)], 1, (1, 1)),  # wider than the window
    ((2, 9, 9, 4), (3, 3, 4, 8), (1, 1), [(-2, 1), (1, -3)], 1, (1, 1)),  # cropped
    ((2, 7, 6, 12), (3, 3, 1, 12), (1, 1), [(1, 1), (1, 1)], 12, (1, 1)),
    ((2, 7, 6, 12), (3, 3, 1, 24), (2, 1), [(1, 1), (1, 1)], 12, (1, 1)),  # two filters a channel
    ((3, 9, 16), (4, 1, 16), (2,), [(2, 3)], 16, (1,)),
    ((3, 8, 7, 16), (3, 3, 1, 16), (2, 2), [(2, 2), (0, 2)], 16, (2, 2)),  # strided and dilated
    ((2, 7, 6, 12), (3, 3, 3, 8), (1, 1), [(1, 1), (1, 1)], 4, (1, 1)),
    ((2, 5, 6, 7, 4), (3, 1, 2, 4, 8), (1, 2, 1), [(1, 1), (0, 0), (1, 0)], 1, (1, 1, 1)),
    ((1, 1, 1, 3), (1, 1, 3, 1), (1, 1), [(0, 0), (0, 0)], 1, (1, 1)),
]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_layers_and_their_gradients(layer):
    x_shape, w_shape, strides, padding, groups, dilation = layer
    x, w = random(*x_shape), random(*w_shape, seed=1)

    def step(x, w):
        y, pull = jax.vjp(lambda x, w: convolution(x, w, strides, padding, groups, dilation), x, w)
        return y, *pull(jnp.cos(y))

    got = jax.jit(lambda x, w: step(x, w))(x, w)
    with cnn_jax.cpu.enabled(False), jax.enable_x64(True):
        want = jax.device_get(jax.jit(step)(x.astype(np.float64), w.astype(np.float64)))
    for have, true in zip(got, want, strict=True):
        np.testing.assert_allclose(have, true, atol=2e-6 * abs(true).max() + 1e-12)


def test_half_precision_sums_in_float32():
    x, w = X.astype(jnp.bfloat16), W.astype(jnp.bfloat16)
    assert CALL in program(convolution, x, w)
    got = jax.jit(convolution)(x, w)
    assert got.dtype == jnp.bfloat16
    want = jax.jit(convolution)(x.astype(np.float32), w.astype(np.float32))
    np.testing.assert_array_equal(got, want.astype(jnp.bfloat16))


def test_a_bad_pixel_spoils_what_sees_it_and_nothing_else():
    x = X.copy()
    x[0, 4, 4] = np.nan
    bad = np.isnan(jax.jit(convolution)(x, W))
    assert bad[0, 3:6, 3:6].all()
    assert bad.sum() == 9 * W.shape[-1]


@pytest.mark.parametrize("parts", [1, 10**4, 10**9])
@pytest.mark.parametrize(("groups", "stride"), [(1, 1), (1, 2), (4, 1), (4, 2), (16, 1), (16, 2)])
def test_the_image_as_window(monkeypatch, parts, groups, stride):
    for size in ("PART", "WHOLE", "PART_DEPTHWISE", "WHOLE_STRIDED", "PART_STRIDED"):
        monkeypatch.setattr(image_windows, size, parts)
    monkeypatch.setattr(image_windows, "EXAMPLES", 5)
    monkeypatch.setattr(image_windows, "MOST_GROUPED", min(parts, 16))
    monkeypatch.setattr(image_windows, "PART_GROUPED", 2)
    x, w = random(4, 11, 9, 16), random(3, 5, 16 // groups, 16, seed=1)

    def gradient(x, w, dy):
        f = lambda w: convolution(x, w, (stride,) * 2, groups=groups)  # noqa: E731
        return jax.vjp(f, w)[1](dy)[0]

    y = jax.eval_shape(lambda x, w: convolution(x, w, (stride,) * 2, groups=groups), x, w)
    dy = random(*y.shape, seed=2)
    monkeypatch.setattr(choose, "LEAST", 10**12)  # no Winograd
    monkeypatch.setattr(choose.kernel_gradient, "NARROW", 1)
    used = []
    method = image_windows.kernel_gradient

    def spy(x, w, g, **product):
        used.append(g)
        return method(x, w, g, **product)

    monkeypatch.setitem(choose.GRADIENT_METHODS, "image_windows", spy)
    got = jax.jit(lambda *a: gradient(*a))(x, w, dy)
    assert len(used) == 1
    with cnn_jax.cpu.enabled(False), jax.enable_x64(True):
        wide = (a.astype(np.float64) for a in (x, w, dy))
        want = jax.device_get(jax.jit(lambda *a: gradient(*a))(*wide))
    np.testing.assert_allclose(got, want, atol=4 * 99 * 2**-24 * abs(want).max())


@pytest.mark.parametrize(("avx512", "examples"), [(True, 8), (False, 4)])
def test_without_avx512_fewer_examples_of_large_groups_at_a_time(monkeypatch, avx512, examples):
    """A block of groups with its window is to stay in a core's cache: here 410 KB, not 819."""
    monkeypatch.setattr(onednn, "has_avx512", lambda: avx512)
    x, w, dy = random(8, 40, 40, 32), random(3, 3, 8, 32, seed=1), random(8, 40, 40, 32, seed=2)
    taken = []
    call = onednn.convolution

    def spy(x, w, *rest, **more):
        taken.append((x.shape[-1], w.shape[0]))
        return call(x, w, *rest, **more)

    monkeypatch.setattr(onednn, "convolution", spy)

    def gradient(w):
        return jax.vjp(lambda w: convolution(x, w, groups=4), w)[1](dy)[0]

    lowered = jax.jit(gradient).lower(w)
    assert (2 * examples, examples) in taken  # two blocks of two groups
    if avx512:
        return  # the processor may have none, and would wait for ever
    with cnn_jax.cpu.enabled(False):
        want = jax.jit(lambda w: gradient(w))(w)
    np.testing.assert_allclose(lowered.compile()(w), want, atol=1e-5 * abs(want).max())


@pytest.mark.parametrize(
    ("x", "window", "padding"),
    [
        ((2, 6, 24), (3,), [(2, 0)]),
        ((3, 5, 4, 24), (3, 3), [(1, 1), (1, 1)]),
        ((2, 5, 6, 24), (2, 4), [(0, 3), (4, 1)]),  # a tap that sees nothing but padding
        ((2, 6, 7, 24), (3, 2), [(-1, 2), (1, -2)]),  # cropped
        ((1, 3, 4, 3, 24), (2, 1, 3), [(1, 0), (0, 0), (1, 1)]),
    ],
    ids=str,
)
def test_windows_of_dy(monkeypatch, x, window, padding):
    """Layers with many channels, few features and few pixels: DenseNet's."""
    x, w = random(*x), random(*window, 24, 4, seed=1)
    used = []
    method = kernel_gradient.by_windows_of_dy

    def spy(x, w, g, **product):
        used.append(g)
        return method(x, w, g, **product)

    monkeypatch.setitem(choose.GRADIENT_METHODS, "windows_of_dy", spy)

    def layer(x, w):
        return convolution(x, w, (1,) * len(window), padding)

    def gradient(x, w, dy):
        return jax.vjp(partial(layer, x), w)[1](dy)[0]

    dy = random(*jax.eval_shape(layer, x, w).shape, seed=2)
    got = jax.jit(lambda *a: gradient(*a))(x, w, dy)
    assert len(used) == 1
    with cnn_jax.cpu.enabled(False), jax.enable_x64(True):
        want = jax.device_get(jax.jit(gradient)(*(a.astype(np.float64) for a in (x, w, dy))))
    np.testing.assert_allclose(got, want, atol=2e-6 * abs(want).max())


@pytest.mark.parametrize("strides", [(1, 1), (2, 3)])
def test_windows_of_one_pixel_are_products(strides):
    x, w = random(2, 9, 9, 16), random(1, 1, 16, 24, seed=1)

    def step(x, w):
        y, pull = jax.vjp(lambda x, w: convolution(x, w, strides), x, w)
        return y, *pull(jnp.cos(y))

    text = program(step, x, w)
    assert text.count(onednn.MATMUL) == 3
    assert onednn.CONVOLUTION not in text
    got = jax.jit(lambda x, w: step(x, w))(x, w)
    with cnn_jax.cpu.enabled(False), jax.enable_x64(True):
        want = jax.device_get(jax.jit(step)(x.astype(np.float64), w.astype(np.float64)))
    for have, true in zip(got, want, strict=True):
        np.testing.assert_allclose(have, true, atol=2e-6 * abs(true).max())


def test_fully_connected_layers(monkeypatch):
    monkeypatch.setattr(registry, "LEAST_PRODUCT", 0)
    monkeypatch.setattr(registry, "LEAST_ROWS", 6)
    x, w = random(2, 3, 16), random(16, 8, seed=1)

    def step(x, w):
        y, pull = jax.vjp(lambda x, w: jnp.einsum("abc,cd->abd", x, w), x, w)
        return y, *pull(jnp.cos(y))

    assert program(step, x, w).count(CALL) == 3
    got = jax.jit(lambda x, w: step(x, w))(x, w)
    with cnn_jax.cpu.enabled(False):
        want = jax.jit(lambda x, w: step(x, w))(x, w)
    for have, true in zip(got, want, strict=True):
        np.testing.assert_allclose(have, true, atol=1e-5)
    monkeypatch.setattr(registry, "LEAST_ROWS", 7)
    assert program(step, x, w).count(CALL) == 2  # w would have to be turned for six rows
    monkeypatch.undo()
    monkeypatch.setenv(verdict.SWITCH, "1")
    assert CALL not in program(step, x, w)  # too small to be worth it


def test_not_in_float64():
    with jax.enable_x64(True):
        assert CALL not in program(convolution, X.astype(np.float64), W.astype(np.float64))


def test_not_in_exported_programs():
    exported = export.export(jax.jit(convolution))(X, W)
    assert CALL not in exported.mlir_module()
    np.testing.assert_allclose(exported.call(X, W), jax.jit(convolution)(X, W), atol=1e-4)


def test_not_where_the_compiler_divides_the_program():
    mesh = Mesh(np.asarray(jax.devices()[:2]), ("data",))
    here = jax.device_put(X, NamedSharding(mesh, PartitionSpec("data")))
    assert CALL not in program(convolution, here, W)
    alone = NamedSharding(Mesh(np.asarray(jax.devices()[:1]), ("data",)), PartitionSpec())
    assert CALL in program(convolution, jax.device_put(X, alone), jax.device_put(W, alone))


def test_where_the_program_divides_itself():
    mesh = Mesh(np.asarray(jax.devices()[:2]), ("data",))
    data, all_of_it = PartitionSpec("data"), PartitionSpec()
    each = jax.shard_map(convolution, mesh=mesh, in_specs=(data, all_of_it), out_specs=data)
    assert CALL in program(each, X, W)
    want = jax.jit(convolution)(X, W)
    np.testing.assert_allclose(jax.jit(each)(X, W), want, atol=1e-5)
    pmapped = jax.pmap(convolution, in_axes=(0, None), devices=jax.devices()[:2])
    np.testing.assert_allclose(pmapped(X[:, None], W)[:, 0], want, atol=1e-5)


def test_not_for_small_layers(monkeypatch):
    """Whose programs the compilation cache then holds, as before."""
    monkeypatch.undo()
    monkeypatch.setenv(verdict.SWITCH, "1")
    small, w = random(8, 8, 8, 16), random(3, 3, 16, 16)  # 1.2 million multiply-adds
    assert CALL not in program(convolution, small, w)
    assert CALL in program(convolution, random(16, 8, 8, 16), w)
    small, w = random(8, 8, 8, 32), random(3, 3, 1, 32)  # 0.15, which count eightfold
    assert CALL not in program(lambda x, w: convolution(x, w, groups=32), small, w)
    assert CALL in program(lambda x, w: convolution(x, w, groups=32), random(16, 8, 8, 32), w)


def test_not_if_switched_off(monkeypatch):
    monkeypatch.setenv(verdict.SWITCH, "0")
    assert CALL not in program(convolution, X, W)


def test_geometry_that_it_does_not_take():
    params = {
        "dimension_numbers": lax.conv_dimension_numbers(
            (1, 4, 4, 2), (2, 2, 2, 2), ("NHWC", "HWIO", "NHWC")
        ),
        "window_strides": (1, 1),
        "padding": ((0, 0), (0, 0)),
        "lhs_dilation": (1, 1),
        "rhs_dilation": (1, 1),
        "feature_group_count": 1,
        "batch_group_count": 1,
    }
    g = geometry.of((1, 4, 4, 2), (2, 2, 2, 2), (1, 3, 3, 2), params)
    assert onednn.fits(g)
    assert not onednn.fits(g._replace(base_dilation=(2, 1)))
    assert not onednn.fits(g._replace(batch_groups=2))


def test_the_compilation_cache_skips_it(tmp_path):
    """XLA would read beyond the call's end; other programs are written and read back."""
    code = f"""
        import warnings
        import jax, jax.numpy as jnp
        from jax import lax
        import cnn_jax.cpu
        warnings.simplefilter("error")
        jax.config.update("jax_compilation_cache_dir", {str(tmp_path)!r})
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
        cnn_jax.cpu.enable()
        @jax.jit
        def with_a_convolution(x, w):
            return lax.conv(x, w, (1, 1), "SAME") * 2
        @jax.jit
        def without(x):
            return x * 3
        x, w = jnp.ones((16, 64, 16, 16)), jnp.ones((64, 64, 3, 3))
        assert {CALL!r} in with_a_convolution.lower(x, w).as_text()
        print(with_a_convolution(x, w).sum(), without(x).sum())
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        taps = (3 * 16 - 2) ** 2  # that meet a pixel, of all outputs of a channel
        convolved, scaled = map(float, done.stdout.split())
        assert abs(convolved / (16 * 64 * 64 * 2 * taps) - 1) < 1e-4
        assert scaled == 3 * 16 * 64 * 16 * 16
    names = [path.name for path in tmp_path.iterdir()]
    assert any("without" in name for name in names)
    assert not any("with_a_convolution" in name for name in names)


@pytest.mark.slow
@pytest.mark.parametrize("version", [1, 2, 3])
def test_xla_cannot_write_it(version):
    """In no form of call (jaxlib 0.10.2 and 0.12.0.1).

    XLA takes the call for an object of another class by its kind, and reads beyond it. Where this
    fails, XLA is mended: let `jax_internals.keep_out_of_compilation_cache` go.
    """
    code = f"""
        import json
        import jax, jax.numpy as jnp
        from jax.experimental import serialize_executable
        from cnn_jax.cpu import onednn
        product = jax.ffi.ffi_call(
            onednn.MATMUL,
            jax.ShapeDtypeStruct((4, 6), jnp.float32),
            custom_call_api_version={version},
            legacy_backend_config=json.dumps({{"onednn_matmul_config": {{}}}}),
        )
        x, y = jnp.ones((4, 5)), jnp.ones((5, 6))
        compiled = jax.jit(product).lower(x, y).compile()
        print("compiled", compiled(x, y).sum(), flush=True)
        serialize_executable.serialize(compiled)
        print("written", flush=True)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "compiled 120.0" in done.stdout, done.stderr
    assert "written" not in done.stdout
    assert done.returncode != 0


def test_gradients_of_a_program_that_divides_itself():
    """They name the devices that they lie on, and are one device's own for all that."""
    mesh = Mesh(np.asarray(jax.devices()[:2]), ("data",))
    data, all_of_it = PartitionSpec("data"), PartitionSpec()

    def gradients(x, w):
        def loss(x, w):
            return (convolution(x, w, strides=(2, 2)) ** 2).sum()

        return jax.grad(loss, (0, 1))(x, w)  # the kernel's is summed over the devices

    each = jax.shard_map(
        gradients, mesh=mesh, in_specs=(data, all_of_it), out_specs=(data, all_of_it)
    )
    text = program(each, random(2, 32, 32, 16), W)
    assert "stablehlo.convolution" not in text
    assert text.count(CALL) >= 3
    alone = jax.shard_map(
        gradients,
        mesh=Mesh(np.asarray(jax.devices()[:1]), ("data",)),
        in_specs=(data, all_of_it),
        out_specs=(data, all_of_it),
    )
    for one, two in zip(jax.jit(alone)(X, W), jax.jit(each)(X, W), strict=True):
        np.testing.assert_allclose(two, one, atol=1e-4)


@pytest.mark.parametrize("shape", [(24, 96), (2, 3, 4, 96)])
def test_kernel_gradients_of_fully_connected_layers_are_not_turned(monkeypatch, shape):
    """JAX asks for dy^T x and turns it, which behind a call would move the whole kernel."""
    monkeypatch.setattr(registry, "LEAST_PRODUCT", 0)
    rows, w = random(24, 96), random(96, 40, seed=1)
    x = rows.reshape(shape)

    def gradient(x, w):
        return jax.grad(lambda w: jnp.sin(x @ w).sum())(w)

    compiled = jax.jit(lambda x, w: gradient(x, w)).lower(x, w).compile()
    assert CALL in compiled.as_text()
    assert "f32[40,96]" not in compiled.as_text()
    np.testing.assert_allclose(compiled(x, w), rows.T @ np.cos(rows @ w), atol=1e-4)


@pytest.mark.parametrize(("channels", "features", "called"), [(64, 3, False), (64, 16, True)])
def test_not_for_the_gradient_of_an_image(channels, features, called):
    """oneDNN fills vectors of 16 with its three channels; XLA takes half as long."""
    x, w = random(2, 8, 8, features), random(3, 3, features, channels)

    def gradient(x, w):
        return jax.grad(lambda x: jnp.sin(convolution(x, w)).sum())(x)

    want = gradient(x, w)
    assert program(gradient, x, w).count(CALL) == 1 + called  # the layer's own, and the gradient
    np.testing.assert_allclose(jax.jit(lambda *a: gradient(*a))(x, w), want, atol=1e-3)


BATCHES = """
import jax, jax.numpy as jnp, numpy as np
from cnn_jax.cpu import geometry, onednn
random = np.random.default_rng(0)
x, y = (jnp.asarray(random.standard_normal(s), jnp.float32) for s in ((2, 32, 2048), (2, 2048, 32)))
want = np.asarray(x, np.float64) @ np.asarray(y, np.float64)

def product(x, y):
    last = x.ndim - 1
    batch = tuple(range(last - 1))
    return onednn.dot_general(x, y, (((last,), (last - 1,)), (batch, batch)), onednn=True)

several, one = (jax.jit(product).lower(*o).compile() for o in ((x, y), (x[0], y[0])))
calls = ["__onednn$matmul" in each.as_text() for each in (several, one)]
for _ in range(200):
    got = several(x, y), one(x[0], y[0])
    assert max(abs(a - b).max() for a, b in zip(got, (want, want[0]))) < 1e-3

def layer(rank, groups, dilation):
    ones = (1,) * rank
    sizes = dict(space=(9,) * rank, window=(3,) * rank, out=(7,) * rank, strides=ones)
    return geometry.Geometry(
        batch=4, channels=16, features=16, padding=((0, 0),) * rank, base_dilation=ones,
        window_dilation=(dilation,) * rank, feature_groups=groups, batch_groups=1, **sizes)

layers = [(1, 16, 1), (3, 16, 2), (1, 4, 1), (2, 16, 2), (3, 16, 1)]
print(*calls, *(onednn.fits(layer(*each)) for each in layers))
"""


def test_without_avx512_batches_of_products_do_not_hang(tmp_path):
    """As they did by oneDNN's kernels for AVX2 (jaxlib 0.10.2), or ended the process."""
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2", "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", BATCHES],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["False", "True", *["False"] * 2, *["True"] * 3]
