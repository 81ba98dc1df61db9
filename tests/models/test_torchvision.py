"""What weights alone do not show: dilation and initialisation, against torchvision itself.

Logits on given weights are compared in tests/weights and by experiments.verify_weights.
"""

from functools import partial

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models import create, describe
from cnn_jax.weights.torch import import_torch, torch_names

torch = pytest.importorskip("torch")
models = pytest.importorskip("torchvision.models")

SIZE = 64


def randomised(network):
    """Weights that keep the signal's scale, and running statistics that are not 0 and 1."""
    generator = torch.Generator().manual_seed(0)
    state = network.double().eval().state_dict()
    for name, tensor in state.items():
        if name.endswith(("running_mean", "bias")):
            tensor.normal_(0, 0.1, generator=generator)
        elif name.endswith("running_var") or tensor.ndim == 1:
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif tensor.is_floating_point():
            tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5, generator=generator)
    network.load_state_dict(state)
    return network


def compare(model, name, network, features):
    """Our stages by name against torchvision's modules by name, in float64."""
    seen = {}
    for module in features.values():
        network.get_submodule(module).register_forward_hook(
            lambda _, __, output, module=module: seen.__setitem__(module, output)
        )
    x = np.random.default_rng(0).normal(size=(1, SIZE, SIZE, 3))
    with torch.no_grad():
        network(torch.from_numpy(x).permute(0, 3, 1, 2))
    state = {key: tensor.numpy() for key, tensor in network.state_dict().items()}
    with jax.enable_x64(True):
        whole = jax.eval_shape(
            partial(create(name, num_classes=1000).init, train=False), jax.random.key(0), x
        )
        template = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.float64), whole)
        variables = import_torch(state, template, describe(name).rules["torchvision"])
        stages = jax.jit(partial(model.apply, train=False))(variables, jnp.asarray(x))
    for stage, module in features.items():
        expected = seen[module].permute(0, 2, 3, 1).numpy()
        assert stages[stage].shape == expected.shape, stage
        np.testing.assert_allclose(stages[stage], expected, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("output_stride", "replace"), [(16, (False, False, True)), (8, (False, True, True))]
)
def test_resnet_output_stride_is_replace_stride_with_dilation(output_stride, replace):
    network = randomised(models.resnet50(replace_stride_with_dilation=replace))
    model = create("resnet50", num_classes=None, output_stride=output_stride)
    compare(model, "resnet50", network, {f"layer{i}": f"layer{i}" for i in range(1, 5)})


@pytest.mark.parametrize("name", ["mobilenet_v3_large", "mobilenet_v3_small"])
def test_mobilenet_output_stride_is_dilated(name):
    network = randomised(models.get_model(name, weights=None, dilated=True))
    model = create(name, num_classes=None, output_stride=16)
    last = len(describe(name).fields["blocks"]) + 1
    features = {f"block{i:02}": f"features.{i}" for i in range(last + 1)}
    compare(model, name, network, features)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "convnext_tiny",
        "efficientnet_b0",
        "mobilenet_v2",
        "mobilenet_v3_small",
        "regnet_y_400mf",
        "resnet18",
    ],
)
def test_initial_weights_have_the_same_spread(name):
    state = models.get_model(name, weights=None).state_dict()
    model = create(name, num_classes=1000)
    key = jax.random.key(0, impl="rbg")  # compiles faster than threefry
    variables = jax.jit(partial(model.init, train=False))(key, jnp.ones((1, SIZE, SIZE, 3)))
    theirs = torch_names(variables, describe(name).rules["torchvision"])
    for path, ours in flax.traverse_util.flatten_dict(variables, sep="/").items():
        reference = state[theirs[path]].numpy()
        if path.endswith("kernel") and ours.size > 2000:
            # The spread of n normal draws is known to 1/sqrt(2n), here 1.6%: four of them, twice.
            assert np.std(ours) == pytest.approx(reference.std(), rel=0.13), path
        elif not path.endswith(("kernel", "bias")) and "bn" not in path.rsplit("/", 2)[-2]:
            np.testing.assert_allclose(ours, reference.reshape(ours.shape), err_msg=path)
