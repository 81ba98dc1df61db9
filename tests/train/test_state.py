"""The state before the first step."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_jax import models
from cnn_jax.train import state


class Mixed(nn.Module):
    """Parameters, statistics, a variable that depends on the picture's shape, and dropout."""

    @nn.compact
    def __call__(self, x, *, train):
        self.variable("sizes", "height", lambda: jnp.int32(x.shape[1]))
        x = nn.Conv(4, (3, 3), kernel_init=nn.initializers.orthogonal())(x)
        x = nn.BatchNorm(use_running_average=not train)(x)
        x = nn.Dropout(0.5, deterministic=not train)(nn.relu(x))
        return nn.Dense(3)(x.mean((1, 2)))


@pytest.mark.parametrize("model", [Mixed(), models.create("resnet8", num_classes=3)])
def test_the_variables_are_those_of_the_models_own_init(model):
    shape = jax.ShapeDtypeStruct((2, 16, 16, 3), np.float32)
    got = state.init_variables(model, shape, seed=5)
    expected = model.init(jax.random.key(5), jnp.zeros(shape.shape), train=False)
    chex.assert_trees_all_equal_shapes_and_dtypes(got, expected)
    chex.assert_trees_all_close(got, expected, rtol=1e-6, atol=1e-7)


def test_the_picture_is_a_shape_and_never_an_array():
    huge = jax.ShapeDtypeStruct((10**6, 64, 64, 3), np.float32)  # 49 GB
    now = state.create_state(Mixed(), optax.sgd(0.1, momentum=0.9), huge, seed=0)
    assert now.params["Dense_0"]["kernel"].shape == (4, 3)
    assert now.model_state["sizes"]["height"] == 64
    chex.assert_trees_all_equal(now.opt_state[0].trace, jax.tree.map(jnp.zeros_like, now.params))


class Centred(nn.Module):
    """Keeps the mean of the picture that it is initialised with."""

    @nn.compact
    def __call__(self, x, *, train):
        return x - self.variable("mean", "mean", lambda: x.mean()).value


def test_a_variable_that_needs_the_picture_is_refused():
    with pytest.raises(ValueError, match=r"Centred.*image's values"):
        state.init_variables(Centred(), jax.ShapeDtypeStruct((1, 4, 4, 1), np.float32), seed=0)
