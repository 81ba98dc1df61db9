"""BatchNorm against Flax's: the same result, and fewer passes over x."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.layers import BatchNorm, moments

FIELDS = {"momentum": 0.8, "epsilon": 1e-3}


def _everything(module, variables, x, **more):
    """Output, new statistics, and the gradients with respect to parameters and x."""

    def forward(params, x):
        everything = {"params": params, "batch_stats": variables["batch_stats"]}
        y, new = module.apply(everything, x, mutable=["batch_stats"], **more)
        return y, new

    y, pullback, new = jax.vjp(forward, variables["params"], x, has_aux=True)
    return y, new, pullback(jnp.cos(y))


def _variables(random, channels, **kinds):
    names = {"scale": kinds.get("use_scale", True), "bias": kinds.get("use_bias", True)}
    return {
        "params": {
            name: jnp.asarray(random.normal(1, 0.3, channels)) for name, on in names.items() if on
        },
        "batch_stats": {
            "mean": jnp.asarray(random.normal(0, 1, channels)),
            "var": jnp.asarray(random.uniform(0.5, 2, channels)),
        },
    }


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("kinds", [{}, {"use_scale": False}, {"use_bias": False}])
def test_it_is_flax_s_in_float64(kinds, running, masked):
    random = np.random.default_rng(0)
    with jax.enable_x64(True):
        x = jnp.asarray(random.normal(2, 3, (4, 5, 6, 7)))
        variables = _variables(random, 7, **kinds)
        fields = {**FIELDS, **kinds, "use_running_average": running, "dtype": jnp.float64}
        mask = jnp.asarray(random.random((4, 5, 6, 1)) < 0.7) if masked else None
        ours = _everything(BatchNorm(**fields), variables, x, mask=mask)
        flax = _everything(nn.BatchNorm(**fields), variables, x, mask=mask)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), ours, flax
        )


def test_moments_that_are_known_are_those_it_would_compute():
    """Maps that several layers read are measured once, where they are made, as in DenseNet."""
    random = np.random.default_rng(2)
    with jax.enable_x64(True):
        first, second = (jnp.asarray(random.normal(2, 3, (4, 5, 6, n))) for n in (3, 4))
        fields = {**FIELDS, "use_running_average": False, "dtype": jnp.float64}
        variables = _variables(random, 7)

        def run(known):
            def forward(params, first, second):
                x = jnp.concatenate([first, second], -1)
                pairs = zip(moments(first), moments(second), strict=True)
                both = tuple(map(jnp.concatenate, pairs)) if known else None
                everything = {**variables, "params": params}
                kind = BatchNorm if known else nn.BatchNorm
                more = {"known": both} if known else {}
                return kind(**fields).apply(everything, x, mutable=["batch_stats"], **more)

            y, pull, new = jax.vjp(forward, variables["params"], first, second, has_aux=True)
            return y, new, pull(jnp.cos(y))

        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9),
            run(known=True),
            run(known=False),
        )
        x = jnp.concatenate([first, second], -1)
        with pytest.raises(ValueError, match="mask"):
            BatchNorm(**fields).apply(variables, x, mask=x > 0, known=moments(x))


@pytest.mark.parametrize("dtype", [None, jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize("given", [jnp.float32, jnp.bfloat16])
def test_types_are_flax_s(given, dtype):
    x = jnp.ones((2, 3, 4), given)
    ours, flax = (
        kind(use_running_average=False, dtype=dtype).init_with_output(jax.random.key(0), x)
        for kind in (BatchNorm, nn.BatchNorm)
    )
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), ours) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), flax
    )


def test_statistics_are_those_of_all_devices():
    random = np.random.default_rng(1)
    x = jnp.asarray(random.normal(1, 2, (4, 3, 5, 6)), jnp.float32)
    variables = BatchNorm(use_running_average=False).init(jax.random.key(0), x)
    apart = BatchNorm(use_running_average=False, axis_name="devices")
    y, new = jax.vmap(
        lambda x: apart.apply(variables, x, mutable=["batch_stats"]), axis_name="devices"
    )(x.reshape(2, 2, 3, 5, 6))
    want, together = BatchNorm(use_running_average=False).apply(
        variables, x, mutable=["batch_stats"]
    )
    np.testing.assert_allclose(y.reshape(x.shape), want, atol=1e-5)  # two orders of a sum of 60
    for name in ("mean", "var"):
        np.testing.assert_allclose(
            new["batch_stats"][name][0], together["batch_stats"][name], atol=1e-5
        )


def test_training_has_four_sums_over_arrays_as_large_as_x():
    def sums(kind):
        module = kind(use_running_average=False)
        x = jnp.ones((8, 16, 16, 32))
        variables = module.init(jax.random.key(0), x)
        text = jax.jit(lambda x: _everything(module, variables, x)).lower(x).as_text()
        lines = [line for line in text.splitlines() if "stablehlo.reduce(" in line]
        return sum("(tensor<8x16x16x32xf32>" in line for line in lines)

    assert sums(BatchNorm) == 4  # of x and x^2; backward of dy and dy * x
    assert sums(nn.BatchNorm) > 4  # if not, ours has nothing over Flax's any more


@pytest.mark.parametrize(
    "fields", [{"axis": 1}, {"use_fast_variance": False}, {"axis_index_groups": [[0, 1]]}]
)
def test_what_it_does_not_do_is_refused(fields):
    module = BatchNorm(use_running_average=False, **fields)
    with pytest.raises(ValueError, match=r"use nn\.BatchNorm"):
        module.init(jax.random.key(0), jnp.ones((2, 3, 4)))
