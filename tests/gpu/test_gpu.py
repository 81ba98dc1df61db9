"""Methods for GPUs equal XLA's own convolution, and are used where a measurement says so alone.

All of it on a CPU: the same rules, registered for it, and programs lowered for 'cuda'.
"""

import json
from functools import partial

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
    found = registry.convolutions_of(passes, x, w, platform="cpu")
    primitive = registry.jax_internals.primitive(registry.PRIMITIVE)
    random = np.random.default_rng(1)
    operands = [[random.standard_normal(a.shape, np.float32) for a in c.operands] for c in found]

    def results(operands):
        for one, (x, w) in zip(found, operands, strict=True):
            want = primitive.bind(x, w, **one.params)
            half = [x.astype(jnp.bfloat16), w.astype(jnp.bfloat16)]
            for method in methods.candidates(one.g):
                yield method, want, methods.run(method, one.g, one.params, x, w)
                ours = jax.eval_shape(partial(methods.run, method, one.g, one.params), *half)
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


def test_a_verdict_is_used_for_its_convolution_and_for_no_other(tmp_path):
    passes, x, w = layer("transposed", jnp.bfloat16)
    found = registry.convolutions_of(passes, x, w, platform="cuda")
    (forward,) = [one for one in found if "subpixel" in methods.candidates(one.g)]

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
    clock = iter(range(10**6))
    slow = {"depthwise": 1.0, "depthwise_gradient": 9.5}

    def milliseconds(function, *_):
        next(clock)
        inner = getattr(function, "__wrapped__", None)
        method = inner.args[0] if isinstance(inner, partial) else None
        return slow.get(method, 10.0)

    monkeypatch.setattr(tuning, "_milliseconds", milliseconds)
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


def test_what_cannot_be_is_said_in_one_line(tmp_path):
    with pytest.raises(ValueError, match="measures on a GPU, and JAX's default device here is a"):
        cnn_jax.gpu.tune(lambda x: x, jnp.ones(3))
    with pytest.raises(ValueError, match=r"none\.json: wanted a file that cnn_jax.gpu.tune has"):
        cnn_jax.gpu.load(tmp_path / "none.json")
    file = tmp_path / "other.json"
    file.write_text(json.dumps({"card": "NVIDIA A100", "methods": {}, "measured": []}))
    with pytest.raises(ValueError, match="measured on NVIDIA A100, and this is cpu"):
        cnn_jax.gpu.load(file)
