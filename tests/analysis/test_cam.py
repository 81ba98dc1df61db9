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


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, *_):
        x = nn.relu(nn.Conv(2, (3, 3), name="conv")(x))
        return (x, None) if _ else x


class Unusual(nn.Module):
    """A first convolution, and what may be around and after it."""

    kind: str

    @nn.compact
    def __call__(self, x, train=False):
        x = Block(name="first")(x)
        if self.kind == "remat":
            x = nn.remat(Block)(name="last")(x)
        elif self.kind == "jit":
            x = nn.jit(Block)(name="last")(x)
        elif self.kind == "scan":
            axes, keys = {"params": 0}, {"params": True}
            scan = nn.scan(Block, variable_axes=axes, split_rngs=keys, length=3)
            x, _ = scan(name="last")(x, None)
        elif self.kind == "cond":
            last = Block(name="last")
            if self.is_initializing():
                last(x)
            x = nn.cond(x.sum() > 0, lambda m, y: m(y), lambda m, y: -y, last, x)
        else:
            last = Block(name="last")
            x = last(x) if self.kind == "plain" else last(last(x))
        return nn.Dense(3, name="head")(x.mean((1, 2)))


@pytest.fixture(scope="module")
def given():
    x = jax.random.normal(jax.random.key(0), (2, 6, 6, 2))
    return Unusual("plain").init(jax.random.key(1), x), x


@pytest.mark.parametrize("kind", ["remat", "jit"])
def test_a_layer_that_is_computed_again_has_the_same_map(given, kind):
    maps = cam.grad_cam(Unusual(kind), *given)
    np.testing.assert_array_equal(maps, cam.grad_cam(Unusual("plain"), *given))
    assert maps.max() > 0


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("shared", r"is called 2 times, with outputs of 6x6x2, 6x6x2"),
        ("scan", "is inside of a transformation such as nn.scan"),
    ],
)
def test_a_layer_without_one_output_is_refused_and_not_chosen(given, kind, why):
    variables, x = given
    if kind == "scan":
        variables = Unusual(kind).init(jax.random.key(1), x)
    with pytest.raises(ValueError, match=rf"the layer 'last/conv' {why}.* Choose from first/conv"):
        cam.grad_cam(Unusual(kind), variables, x, layer="last/conv")
    chosen = cam.grad_cam(Unusual(kind), variables, x)
    np.testing.assert_array_equal(chosen, cam.grad_cam(Unusual(kind), variables, x, layer="first"))


def test_a_branch_is_refused_in_a_line(given):
    with pytest.raises(ValueError, match="the layer 'last' is inside of a transformation"):
        cam.grad_cam(Unusual("cond"), *given, layer="last")
    assert cam.grad_cam(Unusual("cond"), *given).shape == (2, 6, 6)


def test_collections_that_the_caller_asks_for(given):
    score = lambda outputs: outputs[0]  # noqa: E731
    maps = cam.grad_cam(Unusual("plain"), *given, mutable=["intermediates"], score=score)
    np.testing.assert_array_equal(maps, cam.grad_cam(Unusual("plain"), *given))
