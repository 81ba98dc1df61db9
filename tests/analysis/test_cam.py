import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.analysis import cam


class Net(nn.Module):
    """Convolution, ReLU, global mean, dense: the case in which Grad-CAM has a closed form."""

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.relu(nn.Conv(4, (3,) * (x.ndim - 2), name="conv")(x))
        x = nn.Sequential([lambda y: y], name="identity")(x)
        x = x.mean(range(1, x.ndim - 1))
        return nn.Dense(3, name="fc")(x)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_closed_form(rank):
    """With a global mean and one dense layer, CAM (Zhou 2016) and Grad-CAM are the same map:
    relu(sum over channels of w[c, k] * A[c]) / pixels (Selvaraju 2017, section 3.1)."""
    x = jax.random.normal(jax.random.key(0), (2, *(6,) * rank, 2))
    model = Net()
    variables = model.init(jax.random.key(1), x, train=False)
    maps = cam.grad_cam(model, variables, x, class_index=1, layer="identity")
    conv = nn.Conv(4, (3,) * rank)
    activation = nn.relu(conv.apply({"params": variables["params"]["conv"]}, x))
    weight = variables["params"]["fc"]["kernel"][:, 1] / 6**rank
    np.testing.assert_allclose(maps, nn.relu(activation @ weight), rtol=1e-5, atol=1e-7)


def test_default_class_is_the_predicted_one():
    x = jax.random.normal(jax.random.key(0), (2, 6, 6, 2))
    model = Net()
    variables = model.init(jax.random.key(1), x, train=False)
    predicted = model.apply(variables, x, train=False).argmax(-1)
    np.testing.assert_array_equal(
        cam.grad_cam(model, variables, x),
        cam.grad_cam(model, variables, x, class_index=predicted),
    )


def test_layers_in_the_order_of_the_calls():
    x = jnp.zeros((1, 6, 6, 2))
    shapes = cam.layer_shapes(Net(), Net().init(jax.random.key(0), x, train=False), x, train=False)
    assert list(shapes) == ["conv", "identity", "fc"]
    assert shapes["conv"] == (1, 6, 6, 4)
    assert cam.last_spatial_layer(shapes, 4) == "identity"


def test_unknown_layer():
    x = jnp.zeros((1, 6, 6, 2))
    with pytest.raises(ValueError, match=r"no layer 'conv9': choose from conv, identity, fc"):
        cam.grad_cam(Net(), Net().init(jax.random.key(0), x, train=False), x, layer="conv9")
