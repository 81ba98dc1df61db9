"""Attributions against closed forms, axioms, and PyTorch's autograd."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.analysis import attribution, cam
from cnn_jax.models import create

X = jax.random.normal(jax.random.key(0), (2, 8, 8, 2))


class Net(nn.Module):
    """Two convolutions, the mean over all places, a dense layer."""

    act: str = "relu"

    @nn.compact
    def __call__(self, x, *, train):
        act = {
            "relu": nn.relu,
            "relu6": jax.nn.relu6,
            "maximum": lambda x: jnp.maximum(x, 0),
            "tanh": nn.tanh,
        }[self.act]
        x = act(nn.Conv(5, (3, 3), name="conv1")(x))
        x = act(nn.Conv(6, (3, 3), strides=2, padding=[(1, 1)] * 2, name="conv2")(x))
        return nn.Dense(3, name="fc")(x.mean((1, 2)))


def net(act="relu", seed=1):
    model = Net(act)
    return model, model.init(jax.random.key(seed), X, train=False)


def dense(act):
    """A network of two dense layers: logits and gradients in numpy, by hand."""

    class Dense(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            x = act(nn.Dense(7, name="fc1")(x.reshape(x.shape[0], -1)))
            return nn.Dense(3, name="fc2")(x)

    model = Dense()
    variables = model.init(jax.random.key(2), X, train=False)
    first, second = (jax.tree.map(np.asarray, variables["params"][name]) for name in ("fc1", "fc2"))
    return model, variables, first, second


def test_guided_by_hand():
    """Springenberg 2015, figure 1: on where the input was positive and the gradient is."""
    model, variables, first, second = dense(nn.relu)
    hidden = np.asarray(X).reshape(2, -1) @ first["kernel"] + first["bias"]
    above = second["kernel"][:, 1]  # [7], of class 1
    expected = ((hidden > 0) * (above > 0) * above) @ first["kernel"].T
    got = attribution.guided(model, variables, X, class_index=1)
    np.testing.assert_allclose(got, expected.reshape(X.shape), atol=1e-6)
    plain = ((hidden > 0) * above) @ first["kernel"].T
    got = attribution.gradient(model, variables, X, class_index=1)
    np.testing.assert_allclose(got, plain.reshape(X.shape), atol=1e-6)


def test_guided_through_every_way_to_write_a_relu_and_through_remat():
    models = [net(act) for act in ("relu", "maximum")]
    a, b = (attribution.guided(*pair, X) for pair in models)
    np.testing.assert_allclose(a, b, atol=1e-6)
    small = 0.01 * X  # no ReLU6 is at its limit
    pair = [attribution.guided(*net(act), small, class_index=0) for act in ("relu", "relu6")]
    np.testing.assert_allclose(*pair, atol=1e-6)
    models = [create("tcn", num_classes=3, channels=(4,), kernel=2, remat=r) for r in (0, 1)]
    x = X[:, :, 0]
    variables = models[0].init(jax.random.key(0), x, train=False)
    pair = [attribution.guided(model, variables, x) for model in models]
    np.testing.assert_allclose(*pair, atol=1e-6)


def test_guided_without_a_relu():
    with pytest.raises(ValueError, match="has no ReLU"):
        attribution.guided(*net("tanh"), X)


def test_integrated_gradients_of_a_linear_network_are_its_weights_times_the_input():
    model, variables, first, second = dense(lambda x: x)
    weights = (first["kernel"] @ second["kernel"])[:, 2].reshape(X.shape[1:])
    got = attribution.integrated_gradients(model, variables, X, class_index=2, steps=1)
    np.testing.assert_allclose(got, X * weights, atol=1e-5)


def test_integrated_gradients_by_a_loop_in_numpy():
    model, variables, first, second = dense(nn.tanh)
    x, steps = np.asarray(X, np.float64).reshape(2, -1), 20
    total = np.zeros_like(x)
    for i in range(steps):
        at = 0.5 + (i + 0.5) / steps * (x - 0.5)
        slope = 1 - np.tanh(at @ first["kernel"] + first["bias"]) ** 2
        total += (slope * second["kernel"][:, 0]) @ first["kernel"].T
    expected = ((x - 0.5) * total / steps).reshape(X.shape)
    got = attribution.integrated_gradients(
        model, variables, X, class_index=0, steps=steps, baseline=0.5
    )
    np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("act", ["relu", "tanh"])
def test_completeness(act):
    """Sundararajan 2017, section 3: the attributions add up to what the input changed."""
    model, variables = net(act)
    got = attribution.integrated_gradients(model, variables, X, class_index=1, steps=300)
    outputs = [model.apply(variables, x, train=False)[:, 1] for x in (X, jnp.zeros_like(X))]
    np.testing.assert_allclose(got.sum((1, 2, 3)), outputs[0] - outputs[1], atol=2e-3)


def test_the_class_is_the_one_predicted():
    model, variables = net()
    said = model.apply(variables, X, train=False).argmax(-1)
    for method in (attribution.gradient, attribution.guided, attribution.integrated_gradients):
        np.testing.assert_array_equal(
            method(model, variables, X), method(model, variables, X, class_index=said)
        )
    with pytest.raises(ValueError, match="steps=0: give"):
        attribution.integrated_gradients(model, variables, X, steps=0)


def test_features():
    model, variables = net()
    found = attribution.features(model, variables, X)
    assert list(found) == ["conv1", "conv2", "fc"]
    expected = nn.Conv(5, (3, 3)).apply({"params": variables["params"]["conv1"]}, X)
    np.testing.assert_allclose(found["conv1"], expected, atol=1e-6)
    assert list(attribution.features(model, variables, X, layers=["conv2"])) == ["conv2"]
    with pytest.raises(ValueError, match="no layer 'conv9': choose from conv1, conv2, fc"):
        attribution.features(model, variables, X, layers=["conv9"])


def test_grad_cam_follows_the_weights_and_guided_hardly_does():
    """Adebayo 2018, arXiv:1810.03292: a map of random weights must be another map."""
    model, variables = net()
    x = jax.random.normal(jax.random.key(5), (16, 8, 8, 2))
    same = lambda a, b: np.corrcoef(np.ravel(a), np.ravel(b))[0, 1]  # noqa: E731
    trained = cam.grad_cam(model, variables, x, class_index=0, layer="conv2")
    for cascade in (["fc"], ["fc", "conv2"], ["fc", "conv2", "conv1"]):
        params = {**variables["params"]}
        for layer in cascade:  # from the top down, as in the paper's section 3.1
            params[layer] = net(seed=7)[1]["params"][layer]
        other = cam.grad_cam(model, {"params": params}, x, class_index=0, layer="conv2")
        assert abs(same(trained, other)) < 0.7, cascade


@pytest.fixture(scope="module")
def pair():
    """The same network in PyTorch; the definitions of the papers are written out below."""
    torch = pytest.importorskip("torch")
    model, variables = net()
    layers = {}
    for name, stride in (("conv1", 1), ("conv2", 2)):
        weights = variables["params"][name]
        layer = torch.nn.Conv2d(*weights["kernel"].shape[2:], 3, stride, padding=1)
        layer.weight.data = torch.tensor(np.array(weights["kernel"]).transpose(3, 2, 0, 1))
        layer.bias.data = torch.tensor(np.array(weights["bias"]))
        layers[name] = layer
    fc = torch.nn.Linear(6, 3)
    fc.weight.data = torch.tensor(np.array(variables["params"]["fc"]["kernel"]).T)
    fc.bias.data = torch.tensor(np.array(variables["params"]["fc"]["bias"]))
    twin = torch.nn.Sequential(
        layers["conv1"], torch.nn.ReLU(), layers["conv2"], torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), fc,
    )  # fmt: skip
    x = torch.tensor(np.array(X).transpose(0, 3, 1, 2), requires_grad=True)
    return torch, model, variables, twin, x


@pytest.mark.parametrize("class_index", [0, 2])
def test_grad_cam_is_that_of_pytorch(pair, class_index):
    """Selvaraju 2017, equations 1 and 2, with hooks' tensors."""
    torch, model, variables, twin, x = pair
    maps = twin[2](twin[1](twin[0](x)))
    scores = twin[6](twin[5](twin[4](twin[3](maps))))[:, class_index]
    (slope,) = torch.autograd.grad(scores.sum(), maps)
    weights = slope.mean((2, 3), keepdim=True)
    expected = torch.relu((weights * maps).sum(1)).detach().numpy()
    got = cam.grad_cam(model, variables, X, class_index=class_index, layer="conv2")
    assert expected.max() > 0
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * expected.max())


def test_guided_is_that_of_pytorch(pair):
    torch, model, variables, twin, x = pair
    hooks = [
        layer.register_full_backward_hook(lambda _, given, __: (given[0].clamp(min=0),))
        for layer in twin
        if isinstance(layer, torch.nn.ReLU)
    ]
    # the gradient that arrives at a ReLU is masked by where it was on, then by its own sign
    (slope,) = torch.autograd.grad(twin(x)[:, 1].sum(), x)
    for hook in hooks:
        hook.remove()
    got = attribution.guided(model, variables, X, class_index=1)
    np.testing.assert_allclose(got, slope.numpy().transpose(0, 2, 3, 1), atol=1e-5)


def test_integrated_gradients_is_that_of_pytorch(pair):
    torch, model, variables, twin, x = pair
    total = torch.zeros_like(x)
    for i in range(30):
        at = (x.detach() * (i + 0.5) / 30).requires_grad_()
        total += torch.autograd.grad(twin(at)[:, 1].sum(), at)[0]
    expected = (x * total / 30).detach().numpy().transpose(0, 2, 3, 1)
    got = attribution.integrated_gradients(model, variables, X, class_index=1, steps=30)
    np.testing.assert_allclose(got, expected, atol=1e-5)
