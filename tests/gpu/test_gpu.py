"""Methods for GPUs equal XLA's own, and are used where a measurement says so alone.

All of it on a CPU: the same rules, registered for it, and programs lowered for 'cuda'.
"""

import json
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import cnn_jax.gpu
from cnn_jax.gpu import methods, registry, tuning
from cnn_jax.gpu.verdicts import Verdicts

LAYERS = {  # name: (space, channels, features, window, further arguments)
    "strided": ((9, 8), 4, 6, 3, {"window_strides": (2, 2), "padding": [(1, 1), (0, 2)]}),
    "transposed": ((5, 4), 4, 6, 3, {"lhs_dilation": (2, 2), "padding": [(2, 1), (1, 2)]}),
    "of a colour image": ((12, 11), 3, 8, 7, {"window_strides": (2, 2), "padding": [(3, 3)] * 2}),
    "in patches": ((12, 9), 3, 8, 4, {"window_strides": (4, 4)}),
    "of uneven steps": ((9, 8), 2, 4, 3, {"window_strides": (3, 1), "padding": [(0, 2), (1, 0)]}),
    "of a sequence": ((20,), 1, 4, 5, {"window_strides": (3,), "padding": "SAME"}),
    "dilated": ((9, 8), 4, 6, 3, {"rhs_dilation": (2, 2), "padding": [(2, 2), (2, 2)]}),
    "grouped": ((6, 5), 8, 12, 3, {"feature_group_count": 4, "padding": "SAME"}),
    "grouped, strided": ((7, 7), 8, 8, 3, {"feature_group_count": 4, "window_strides": (2, 2)}),
    "depthwise": ((6, 7), 5, 5, 3, {"feature_group_count": 5, "padding": "SAME"}),
    "depthwise, strided": ((8, 8), 5, 10, 5, {"feature_group_count": 5, "window_strides": (2, 2)}),
    "in space": ((4, 5, 4), 3, 4, 3, {"padding": "SAME"}),
    "transposed in space": (
        (3, 2, 3),
        3,
        4,
        2,
        {"lhs_dilation": (2, 2, 2), "padding": [(1, 1)] * 3},
    ),
}


def layer(name, dtype):
    """A function of a layer's input and kernel that gives its output and both gradients."""
    space, channels, features, window, options = LAYERS[name]
    rank = len(space)
    groups = options.get("feature_group_count", 1)
    random = np.random.default_rng(0)
    x = jnp.asarray(random.standard_normal((2, *space, channels)), dtype)
    w = jnp.asarray(
        random.standard_normal((*(window,) * rank, channels // groups, features)), dtype
    )
    letters = "DHW"[-rank:]
    numbers = (f"N{letters}C", f"{letters}IO", f"N{letters}C")
    options = {"window_strides": (1,) * rank, "padding": "VALID", **options}

    def passes(x, w):
        f = partial(lax.conv_general_dilated, dimension_numbers=numbers, **options)
        y, pull = jax.vjp(f, x, w)
        return y, *pull(jnp.cos(y))

    return passes, x, w


@pytest.mark.parametrize("name", LAYERS)
def test_every_method_gives_what_xla_gives(name):
    """Each pass of each layer by every method that says it can do it: one program for a layer."""
    passes, x, w = layer(name, jnp.float32)
    found = registry.operations_of(passes, x, w, platform="cpu")
    random = np.random.default_rng(1)
    operands = [[random.standard_normal(a.shape, np.float32) for a in c.operands] for c in found]

    def results(operands):
        for one, (x, w) in zip(found, operands, strict=True):
            want = one.by_xla(x, w)
            half = [x.astype(jnp.bfloat16), w.astype(jnp.bfloat16)]
            for method in one.candidates():
                yield method, want, one.run(method, x, w)
                ours = jax.eval_shape(partial(one.run, method), *half)
                assert (ours.shape, ours.dtype) == (want.shape, jnp.bfloat16)

    names = []  # filled while tracing

    @jax.jit
    def pairs(operands):
        rows = list(results(operands))
        names.extend(method for method, *_ in rows)
        return [pair for _, *pair in rows]

    computed = pairs(operands)
    for method, (want, have) in zip(names, computed, strict=True):
        np.testing.assert_allclose(have, want, atol=2e-5 * np.abs(want).max(), err_msg=method)
    assert names, "no method is for this layer"


POOLS = {  # name: (space, window, strides, padding)
    "ResNet's": ((9, 8), (3, 3), (2, 2), [(1, 1), (1, 1)]),
    "in blocks": ((8, 7), (2, 2), (2, 2), "VALID"),
    "of a sequence": ((11,), (3,), (1,), "SAME"),
    "in space": ((4, 5, 4), (2, 2, 2), (2, 2, 2), "VALID"),
}


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_max_poolings_gradient_is_xlas_with_equal_maxima_too(name, dtype):
    space, window, strides, padding = POOLS[name]
    random = np.random.default_rng(0)
    x = jnp.asarray(random.integers(0, 4, (2, *space, 3)), dtype)  # many are equal

    def gradient(x):
        y, pull = jax.vjp(lambda x: nn.max_pool(x, window, strides, padding), x)
        weights = jnp.arange(y.size, dtype=jnp.float32).reshape(y.shape) % 7
        return pull(weights.astype(y.dtype))[0]

    (one,) = registry.operations_of(gradient, x, platform="cpu")
    assert one.candidates() == ("views",)
    want = np.asarray(gradient(x))
    with cnn_jax.gpu.enabled(Verdicts("a card", {one.key: "views"}), platforms=("cpu",)):
        traced = jax.jit(lambda x: gradient(x)).lower(x)
        assert "select_and_scatter" not in traced.as_text()
        np.testing.assert_array_equal(traced.compile()(x), want)
    # whole numbers below 256: sums are exact in bfloat16 too
    np.testing.assert_array_equal(jax.jit(lambda x: gradient(x))(x), want)


def test_a_verdict_is_used_for_its_convolution_and_for_no_other(tmp_path):
    passes, x, w = layer("transposed", jnp.bfloat16)
    found = registry.operations_of(passes, x, w, platform="cuda")
    (forward,) = [one for one in found if "subpixel" in one.candidates()]

    def text(*operands):
        traced = jax.jit(lambda *a: passes(*a)).trace(*operands)
        return traced.lower(lowering_platforms=("cuda",)).as_text()

    plain = text(x, w)
    assert cnn_jax.gpu.enable(Verdicts("a card", {})) == 0  # nothing measured, nothing changed
    assert text(x, w) == plain
    with cnn_jax.gpu.enabled(Verdicts("a card", {forward.key: "subpixel"})) as count:
        assert count == 1
        assert text(x, w).count("stablehlo.convolution") == plain.count("stablehlo.convolution") + 3
        other = text(x[:1], w)  # another batch: nothing was measured
        assert other.count("stablehlo.convolution") == plain.count("stablehlo.convolution")
        assert jax.jit(passes)(x, w)[0].dtype == jnp.bfloat16  # a CPU is not affected
    assert text(x, w) == plain


def test_tune_keeps_what_was_faster_and_right(tmp_path, monkeypatch):
    file = tmp_path / "verdicts.json"
    passes, x, w = layer("depthwise", jnp.float32)
    slow = {"depthwise": 1.0, "depthwise_gradient": 9.5}
    compile_it, names = tuning.compiled, {}

    def named(function, *operands, calls):
        program = compile_it(function, *operands, calls=calls)
        names[program] = function.args[0] if isinstance(function, partial) else "xla"
        return program

    def milliseconds(program, x, w, *, calls, repeats):
        return slow.get(names[program], 10.0), program(x, w)[-1]

    monkeypatch.setattr(tuning, "compiled", named)
    monkeypatch.setattr(tuning, "milliseconds", milliseconds)
    broken = dict(methods.FORWARD)
    timings = cnn_jax.gpu.tune(passes, x, w, platform="cpu", file=file)
    chosen = [timing.chosen for timing in timings]
    # 1.05 times as fast is not worth another program
    assert sorted(chosen) == ["depthwise", "depthwise", "xla"]
    assert not any(timing.wrong for timing in timings)
    assert cnn_jax.gpu.tune(passes, x, w, platform="cpu", file=file) == []  # all is known
    kept = json.loads(file.read_text())
    assert sorted(kept["methods"].values()) == ["depthwise", "depthwise"]

    want = jax.jit(passes)(x, w)
    with cnn_jax.gpu.enabled(cnn_jax.gpu.load(file), platforms=("cpu",)):
        compiled = jax.jit(lambda *a: passes(*a)).lower(x, w)
        assert compiled.as_text().count("stablehlo.convolution") == 1
        have = compiled.compile()(x, w)
    for one, other in zip(have, want, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)

    file.unlink()
    monkeypatch.setitem(methods.FORWARD, "depthwise", lambda *a, **k: 2 * broken["depthwise"](*a))
    timings = cnn_jax.gpu.tune(passes, x, w, platform="cpu", file=file)
    assert {timing.chosen for timing in timings} == {"xla"}
    assert "error" in timings[0].wrong["depthwise"]


def test_a_call_is_timed_as_often_as_it_says():
    """So many calls, one after the other: none is left out, and the operands come back."""
    calls = []

    def function(x, w):
        jax.debug.callback(lambda: calls.append(1))
        return x @ w

    x, w = jnp.eye(3), jnp.arange(9.0).reshape(3, 3)
    want = np.asarray(w)
    program = tuning.compiled(function, x, w, calls=7)
    same, also, y = program(jnp.array(x), jnp.array(w))
    jax.effects_barrier()
    assert len(calls) == 7
    np.testing.assert_array_equal(same, np.eye(3))
    np.testing.assert_array_equal(also, want)
    np.testing.assert_array_equal(y, want)

    # what does not change from call to call stays within the loop
    text = tuning.compiled(lambda x, w: x @ w, x, w, calls=7).as_text()
    assert "dot" in text.partition("ENTRY")[0]


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_each_call_waits_for_the_one_before_in_every_dtype(dtype):
    x = jnp.ones((2, 3), dtype)
    huge = jnp.full((4,), jnp.finfo(dtype).max)
    assert tuning._after(x, huge)[0, 0] == jnp.finfo(dtype).max  # so a compiler must have y first
    np.testing.assert_array_equal(tuning._after(x, 100 * jnp.ones(4, dtype)), x)


def test_what_cannot_be_is_said_in_one_line(tmp_path):
    with pytest.raises(ValueError, match="measures on a GPU, and JAX's default device here is a"):
        cnn_jax.gpu.tune(lambda x: x, jnp.ones(3))
    with pytest.raises(ValueError, match=r"none\.json: wanted a file that cnn_jax.gpu.tune has"):
        cnn_jax.gpu.load(tmp_path / "none.json")
    file = tmp_path / "other.json"
    file.write_text(json.dumps({"card": "NVIDIA A100", "methods": {}, "measured": []}))
    with pytest.raises(ValueError, match="measured on NVIDIA A100, and this is cpu"):
        cnn_jax.gpu.load(file)
