"""LeNet-5 as published: the layers' parameters and the connections of Table I."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models import create
from cnn_jax.models.lenet5 import TABLE_I, PartialConv, scaled_tanh


def test_trainable_parameters_of_each_layer():
    """Section II.B of LeCun et al. 1998 counts them: 60,000 up to F6."""
    model = create("lenet5_1998", num_classes=10)
    x = jax.ShapeDtypeStruct((1, 32, 32, 1), jnp.float32)
    params = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), x)["params"]
    counts: dict[str, int] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        layer = path[0].key.split("_")[0]
        counts[layer] = counts.get(layer, 0) + leaf.size
    assert counts.pop("output") == 850
    assert counts == {"c1": 156, "s2": 12, "c3": 1516, "s4": 32, "c5": 48_120, "f6": 10_164}
    assert sum(counts.values()) == 60_000


def test_table_1_connects_3_4_or_6_maps():
    """Table I: maps 0 to 5 see three maps of S2, 6 to 14 see four, 15 sees all six."""
    inputs = [sum(out in maps for maps in TABLE_I) for out in range(16)]
    assert inputs == [3] * 6 + [4] * 9 + [6]


@pytest.mark.parametrize("rank", [1, 2])
def test_partial_conv_sees_only_its_connections(rank):
    x = jax.random.normal(jax.random.key(0), (1, *(7,) * rank, 6))
    layer = PartialConv()
    variables = layer.init(jax.random.key(1), x)
    before = np.asarray(layer.apply(variables, x))
    assert before.shape == (1, *(3,) * rank, 16)
    for i, maps in enumerate(TABLE_I):
        after = np.asarray(layer.apply(variables, x.at[..., i].add(1.0)))
        changed = np.nonzero((after != before).any(tuple(range(rank + 1))))[0]
        np.testing.assert_array_equal(changed, maps)


def test_scaled_tanh_is_one_at_one():
    """Appendix A: f(1) = 1 and f(-1) = -1."""
    np.testing.assert_allclose(scaled_tanh(jnp.array([-1.0, 1.0])), [-1, 1], atol=1e-4)


def test_a_digit_of_28_pixels_is_centred_in_32():
    x = jax.random.normal(jax.random.key(0), (2, 28, 28, 1))
    model = create("lenet5", num_classes=10)
    variables = jax.jit(partial(model.init, train=False))(jax.random.key(1), x)
    apply = jax.jit(partial(model.apply, train=False))
    padded = jnp.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    np.testing.assert_allclose(apply(variables, x), apply(variables, padded), atol=1e-6)
