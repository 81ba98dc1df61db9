"""Our convolutions against XLA's own, in float64, over random configurations.

Every program tested here (forward, gradients, second derivatives) is a polynomial in its inputs
with non-negative coefficients. Run on absolute values in float64 it gives a majorant M of all the
partial sums, and a float32 evaluation whose longest chain of roundings has n links errs by
at most n * eps * M (Higham 2002, "Accuracy and stability of numerical algorithms", section 3.1),
element by element. That bound, with n read off the configuration, is the tolerance. Winograd's
rounding is that of the plain sum times at most `amplification`, in units of the largest
M that meets a tile: where a window has three taps or more (which sub-pixel decomposition may cut
into threes), that is allowed on top in float32. float64 never uses Winograd and gets no such
allowance, so that it holds all the rest to the bound.
"""

import math
from contextlib import contextmanager
from typing import NamedTuple

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from cnn_jax.cpu import choose, image_windows, kernel_gradient, registry, taps, verdict, winograd


class Case(NamedTuple):
    x: tuple[int, ...]
    w: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    base_dilation: tuple[int, ...]
    window_dilation: tuple[int, ...]
    numbers: tuple[str, str, str]
    feature_groups: int
    batch_groups: int
    seed: int


LAYOUTS = {
    1: [("NWC", "WIO", "NWC"), ("NCW", "OIW", "NCW"), ("CWN", "IWO", "WNC")],
    2: [
        ("NHWC", "HWIO", "NHWC"),
        ("NCHW", "OIHW", "NCHW"),
        ("CHWN", "IHWO", "HWNC"),
        ("NHWC", "OIHW", "NCHW"),
    ],
    3: [("NHWDC", "HWDIO", "NHWDC"), ("NCHWD", "OIHWD", "NCHWD")],
}


@st.composite
def cases(draw) -> Case:
    rank = draw(st.sampled_from([1, 2, 2, 2, 2, 3]))
    most = {1: 13, 2: 9, 3: 4}[rank]

    def each(strategy):
        return tuple(draw(strategy) for _ in range(rank))

    space = each(st.integers(1, most))
    window = draw(st.sampled_from([(1,) * rank, (3,) * rank, (2,) * rank, None]))
    window = window or each(st.integers(1, min(most, 5)))
    plain = st.sampled_from([1, 1, 1, 2, 3])
    strides, base, dilation = each(plain), each(st.sampled_from([1, 1, 1, 1, 2, 3])), each(plain)
    padding = []
    for n, k, d, b in zip(space, window, dilation, base, strict=True):
        lo = draw(st.integers(-1, k * d))
        need = (k - 1) * d + 1 - ((n - 1) * b + 1) - lo  # so that one window fits
        padding.append((lo, draw(st.integers(max(need, -1), max(need, k * d)))))
    groups = draw(st.sampled_from([1, 1, 1, 2, 3, 8]))
    kind = draw(st.sampled_from(["feature", "depthwise", "batch"]))
    inputs = 1 if kind == "depthwise" else draw(st.sampled_from([1, 2, 3, 8]))
    outputs = draw(st.sampled_from([1, 2, 5, 8]))
    feature_groups, batch_groups = (1, groups) if kind == "batch" else (groups, 1)
    batch = draw(st.integers(1, 3)) * batch_groups
    numbers = draw(st.sampled_from(LAYOUTS[rank]))
    sizes = {"N": batch, "C": inputs * feature_groups, "I": inputs, "O": outputs * groups}
    x = dict(sizes, **dict(zip("HWD" if rank > 1 else "W", space, strict=False)))
    w = dict(sizes, **dict(zip("HWD" if rank > 1 else "W", window, strict=False)))
    return Case(
        tuple(x[a] for a in numbers[0]),
        tuple(w[a] for a in numbers[1]),
        strides,
        tuple(padding),
        base,
        dilation,
        numbers,
        feature_groups,
        batch_groups,
        draw(st.integers(0, 2**31)),
    )


def convolution(case: Case):
    def convolve(x, w):
        return lax.conv_general_dilated(
            x,
            w,
            case.strides,
            case.padding,
            case.base_dilation,
            case.window_dilation,
            case.numbers,
            case.feature_groups,
            case.batch_groups,
        )

    return convolve


def programs(case: Case):
    """Name -> (function of (x, w, y, dx, dw), how many convolutions follow one another in it)."""
    f = convolution(case)

    def second(x, w, y, dx, dw):
        def loss(x, w):
            return 0.5 * (f(x, w) ** 2).sum()

        return jax.jvp(jax.grad(loss, (0, 1)), (x, w), (dx, dw))[1]

    return {
        "forward": (lambda x, w, y, dx, dw: f(x, w), 1),
        "gradients": (lambda x, w, y, dx, dw: jax.vjp(f, x, w)[1](y), 1),
        "jvp": (lambda x, w, y, dx, dw: jax.jvp(f, (x, w), (dx, dw))[1], 1),
        "second": (second, 3),
        "vmap x": (lambda x, w, y, dx, dw: jax.vmap(f, (0, None))(jnp.stack([x, dx]), w), 1),
        "vmap w": (lambda x, w, y, dx, dw: jax.vmap(f, (None, 0))(x, jnp.stack([w, dw])), 1),
        "vmap both": (
            lambda x, w, y, dx, dw: jax.vmap(f)(jnp.stack([x, dx]), jnp.stack([w, dw])),
            1,
        ),
    }


@contextmanager
def ours(*, wide: bool = False, by_onednn: bool = False):
    """Our rules, with Winograd at these sizes, and if asked for what is for wide layers too.

    By oneDNN, where there is one, Winograd only with what is for wide layers, for it is what takes
    the place of oneDNN's own; and kernel gradients in as many parts as can be.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(verdict.SWITCH, str(int(by_onednn)))
        patch.setattr(choose, "LEAST", 0 if wide or not by_onednn else 10**9)
        patch.setattr(choose, "TOUCH", 0)
        patch.setattr(choose, "TOUCH_ONEDNN", 0)
        patch.setattr(choose, "LEAST_ONEDNN", 0)
        for size in ("PART", "WHOLE", "PART_DEPTHWISE", "WHOLE_STRIDED", "PART_STRIDED"):
            patch.setattr(image_windows, size, 1)
        patch.setattr(winograd, "PART", 1 if by_onednn else 10**9)
        patch.setattr(image_windows, "EXAMPLES", 4)
        patch.setattr(image_windows, "MOST_GROUPED", 1)
        patch.setattr(image_windows, "PART_GROUPED", 1)
        if wide:
            patch.setattr(taps, "WIDE", 1)
            patch.setattr(kernel_gradient, "TURNED", 1)
            patch.setattr(kernel_gradient, "RATIO", 0)
        assert registry.install()
        try:
            yield
        finally:
            registry.uninstall()


# XLA's algebraic simplifier (jax 0.10.2) aborts the process on some convolutions that are dilated
# and strided, and forgets the padding of others (see below): these comparisons do without it.
WITHOUT_SIMPLIFIER = {"xla_disable_hlo_passes": "algsimp"}


def compiled(lowered):
    """It also turns negative padding into slices: only the fusion emitters can do without that."""
    try:
        return lowered.compile(compiler_options=WITHOUT_SIMPLIFIER)
    except jax.errors.JaxRuntimeError as error:
        if "negative padding" not in str(error):
            raise
        more = {"xla_cpu_use_fusion_emitters": True}
        return lowered.compile(compiler_options=WITHOUT_SIMPLIFIER | more)


def lower(function, arguments):
    """Traces afresh: no cache of JAX may mix the two sets of rules."""
    return jax.jit(lambda *a: function(*a)).lower(*arguments)


def inputs_for(case: Case):
    f = convolution(case)
    y = jax.eval_shape(f, *(jax.ShapeDtypeStruct(s, np.float32) for s in (case.x, case.w))).shape
    random = np.random.default_rng(case.seed)
    shapes = (case.x, case.w, y, case.x, case.w)
    return [random.standard_normal(s).astype(np.float32) for s in shapes]


def amplification(m: int, axes: int) -> float:
    """The largest factor by which tiles of m enlarge the rounding of a direct sum.

    The norm product of Barabasz et al. 2020, arXiv 1803.10986.
    """
    b_t, g, a_t = map(abs, winograd.matrices(m))
    return float((a_t @ (g.sum(1) * b_t.sum(1))).max() ** axes)


def most_taps(case: Case) -> list[int]:
    """Along each axis, the longest window that any of the programs slides: the kernel's own, or
    that of the kernel gradient, which is the output."""
    x, w, _ = case.numbers
    y = jax.eval_shape(convolution(case), *(jnp.zeros(s) for s in (case.x, case.w))).shape
    axes = [axis for axis in x if axis in "HWD"]
    return [max(case.w[w.index(a)], y[case.numbers[2].index(a)]) for a in axes]


def check(case: Case, names):
    arguments = inputs_for(case)
    terms = math.prod(case.x) + math.prod(case.w)  # at least the longest sum in any program
    if min(arguments[2].shape) == 0:
        hypothesis.reject()
    chosen = {name: programs(case)[name] for name in names}

    def run_all(*arguments):
        return {name: jax.tree.leaves(run(*arguments)) for name, (run, _) in chosen.items()}

    with jax.enable_x64(True):
        wide = [a.astype(np.float64) for a in arguments]
        lowered = [lower(run_all, wide)]
        with ours(wide=case.seed % 2 == 1):
            lowered.append(lower(run_all, wide))
    with ours(wide=case.seed % 2 == 1, by_onednn=case.seed % 4 < 2):
        lowered.append(lower(run_all, arguments))
    stock, ours64, ours32 = map(compiled, lowered)
    with jax.enable_x64(True):
        want = jax.device_get(stock(*wide))
        most = jax.device_get(stock(*(abs(a) for a in wide)))
        got64 = jax.device_get(ours64(*wide))
    got = jax.device_get(ours32(*arguments))
    threes = min(2, sum(size >= winograd.TAPS for size in most_taps(case)))
    enlarged = amplification(4, threes) if threes else 0.0
    for name, (_, depth) in chosen.items():
        rows = zip(got[name], got64[name], want[name], most[name], strict=True)
        for have, have64, true, bound in rows:
            n = depth * (min(terms, 64) + 10)
            assert have.shape == true.shape
            assert have.dtype == np.float32
            tile = enlarged * bound.max()
            np.testing.assert_array_less(
                abs(have - true), n * 2.0**-24 * (bound + tile) + 1e-30, name
            )
            np.testing.assert_array_less(abs(have64 - true), n * 2.0**-52 * bound + 1e-30, name)


REST = ["jvp", "second", "vmap x", "vmap w", "vmap both"]
QUICK = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "phases": [hypothesis.Phase.generate],
}


@pytest.fixture(autouse=True, scope="module")
def no_cache_on_disk():
    """Thousands of programs that never come again."""
    least = "jax_persistent_cache_min_compile_time_secs"
    before = jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update(least, 3600)
    yield
    jax.config.update(least, before)


@settings(max_examples=20, **QUICK)
@given(cases(), st.sampled_from(["gradients", *REST]))
def test_equals_stock(case, name):
    check(case, ["forward", name])


# a hundred in CI; all by `pytest -m exhaustive`
@pytest.mark.parametrize(
    "examples",
    [
        pytest.param(100, marks=pytest.mark.slow),
        pytest.param(2000, marks=pytest.mark.exhaustive),
    ],
)
def test_equals_stock_everywhere(examples):
    """Forward of every configuration, and one of the rest, gradients twice as often as another."""

    @settings(max_examples=examples, **QUICK)
    @given(cases(), st.sampled_from(["gradients", "gradients", *REST]))
    def each(case, name):
        check(case, ["forward", name])
        if case.seed % 16 == 0:  # JAX keeps what it compiled, some gigabytes of it by the end
            jax.clear_caches()

    each()


@pytest.mark.parametrize("groups", [1, 4])
def test_padding_that_shifts_under_one_pixel_windows(groups):
    """Padding (1, -1) moves an image by a pixel. XLA's simplifier (jax 0.10.2) takes such a
    convolution with 1x1 windows for a product of matrices and forgets the move."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 4, 8)).astype(np.float32)
    w = rng.normal(size=(1, 1, 8 // groups, 12)).astype(np.float32)
    moved = np.pad(x, [(0, 0), (1, 0), (0, 0), (0, 0)])[:, :-1]
    parts = zip(np.split(moved, groups, 3), np.split(w[0, 0], groups, 1), strict=True)
    expected = np.concatenate([a @ b for a, b in parts], 3)

    def convolve(x, w):
        return lax.conv_general_dilated(
            x,
            w,
            (1, 1),
            [(1, -1), (0, 0)],
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )

    with ours():
        run = lower(convolve, (x, w)).compile()
    np.testing.assert_allclose(run(x, w), expected, atol=1e-5)


def test_negative_padding_reads_nothing_beyond_the_image():
    """With padding (2, 0) and two taps the input gradient has padding (-1, 1), for which XLA's own
    float32 convolution (jax 0.10.2) returns what happens to lie in memory."""
    rng = np.random.default_rng(0)
    x, w, y = (
        rng.normal(size=s).astype(np.float32) for s in ((3, 3, 3), (2, 3, 8), (3, 4, 8))
    )  # [N, W, C], [taps, C, F], [N, out, F]
    expected = np.zeros((3, 5, 3))  # of the padded input
    for o in range(4):
        for tap in range(2):
            expected[:, o + tap] += y[:, o] @ w[tap].T

    def gradient(x, w, y):
        def convolve(x):
            return lax.conv_general_dilated(
                x, w, (1,), [(2, 0)], dimension_numbers=("NWC", "WIO", "NWC")
            )

        return jax.vjp(convolve, x)[1](y)[0]

    with ours():
        run = lower(gradient, (x, w, y)).compile()
    np.testing.assert_allclose(run(x, w, y), expected[:, 2:], atol=1e-5)
