"""Compares one of our networks with the publisher's, weight for weight. Needs torch."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cnn_jax.models import create, describe
from cnn_jax.weights.torch import export_torch, import_torch
from experiments.verify_weights import torch_networks

TOLERANCE = 1e-4  # max |difference| / max |logit|
TRAIN_TOLERANCE = 1e-3
SEEN, EPSILON = 100, 1e-7  # least effect of another image, in errors; least size of an error
AUX_WEIGHT = 0.3  # weight of the auxiliary losses, arXiv:1409.4842 section 5

BATCH = 2
SIZE = 64
# Inception's statistics come from a training pass, where its auxiliary head reads 17 x 17 maps.
SMALLEST = {"inception_v3": (299, 299), "s3d": (13, 209, 209)}
CLIP = (4, 64, 64)  # frames, height, width

# One network of each family, with the size of its training images if the default is too small: the
# last stages need more than one pixel for batch statistics.
TRAINED = {
    "alexnet": (64, 64),
    "convnext_tiny": (64, 64),
    "densenet121": (96, 96),
    "efficientnet_b0": (96, 96),
    "efficientnet_v2_s": (96, 96),
    "googlenet": (96, 96),
    "inception_v3": (299, 299),  # the auxiliary head reads 17 x 17 maps
    "mnasnet0_5": (96, 96),
    "mobilenet_v2": (96, 96),
    "mobilenet_v3_small": (96, 96),
    "regnet_x_400mf": (96, 96),
    "regnet_y_400mf": (96, 96),
    "resnet18": (96, 96),
    "resnext50_32x4d": (96, 96),
    "wide_resnet50_2": (96, 96),
    "shufflenet_v2_x0_5": (96, 96),
    "squeezenet1_1": (64, 64),
    "vgg11_bn": (64, 64),
    "r3d_18": (8, 48, 48),
    "mc3_18": (8, 48, 48),
    "r2plus1d_18": (8, 48, 48),
    "s3d": (16, 209, 209),
}
TRAIN_BATCH = 8
LARGE_TRAIN_BATCH = 2  # inception_v3, s3d


def images(size: tuple[int, ...], batch: int, seed: int) -> np.ndarray:
    """Random images [B, *size, 3], normally distributed as normalised pixels are."""
    return np.random.default_rng(seed).normal(size=(batch, *size, 3)).astype(np.float32)


def compare(
    theirs: str, ours: str, fields: dict[str, Any], *, source: str, native: bool, seed: int
) -> dict[str, Any]:
    """Compares a network in evaluation mode: a row of the table.

    Args:
        theirs, ours: the publisher's name and ours.
        fields: our fields that differ from the registry.
        source: publisher, 'torchvision' or 'timm'.
        native: whether images have the published size, not 64 pixels.
        seed: seed for weights, statistics and images.
    """
    described = describe(ours)
    *published, _ = described.input_shape
    small = CLIP if len(published) == 3 else (SIZE, SIZE)
    size = tuple(published) if native else SMALLEST.get(ours, small)
    x = images(size, BATCH, seed)
    rules = described.rules[source]
    # S3D and the video networks of torchvision have 400 classes.
    model = create(ours, num_classes=described.num_classes, **fields)

    network = torch_networks.build(source, theirs)
    torch_networks.randomise(network, seed, x)
    expected = torch_networks.run(network, x)
    template = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)
    variables = import_torch(torch_networks.to_numpy(network), template, rules)
    apply = jax.jit(lambda variables, x: model.apply(variables, x, train=False))
    actual = np.asarray(apply(variables, x))

    again = torch_networks.build(source, theirs)
    torch_networks.load(again, export_torch(variables, rules))
    returned = torch_networks.run(again, x)

    scale = np.abs(expected).max()
    params = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(template["params"]))
    row = {
        "size": list(size),
        "params": params,
        "published_params": described.params if source == "torchvision" else None,
        "error": float(np.abs(actual - expected).max() / scale),
        "error_exported": float(np.abs(returned - expected).max() / scale),
        # How much the logits depend on the image: comparing constants would prove nothing, and a
        # deep network of random weights forgets most of a noise image of 600 x 600 pixels.
        "input_effect": float(np.abs(expected[0] - expected[1]).max() / scale),
    }
    row["passed"] = (
        row["error"] <= TOLERANCE
        and row["error_exported"] <= 1e-6
        and row["input_effect"] >= SEEN * max(row["error"], EPSILON)
        and row["published_params"] in (None, params)
    )
    return row


def compare_training(name: str, *, seed: int) -> dict[str, Any]:
    """Compares a training step without dropout and stochastic depth: a row of the table.

    Both sides use float64: in float32 a few of a million ReLUs open on one side only, and their
    gradients, summed through a hundred layers of DenseNet, reach a percent.
    """
    described = describe(name)
    rules = described.rules["torchvision"]
    size = TRAINED[name]
    batch = LARGE_TRAIN_BATCH if math.prod(size) > 80_000 else TRAIN_BATCH
    x = images(size, batch, seed).astype(np.float64)
    labels = np.random.default_rng(seed + 1).integers(0, described.num_classes, batch)
    off = {"drop_rate": 0.0, "aux_drop_rate": 0.0, "stochastic_depth_rate": 0.0}
    known: dict[str, Any] = {
        field: value for field, value in off.items() if hasattr(described.module, field)
    }
    if hasattr(described.module, "aux_heads"):
        known["aux_heads"] = True
    model = create(name, num_classes=described.num_classes, **known)

    network = torch_networks.build("torchvision", name, aux_heads=True).double()
    torch_networks.randomise(network, seed, x)
    state_dict = {k: v.copy() for k, v in torch_networks.to_numpy(network).items()}
    expected = torch_networks.train_step(network, x, labels, AUX_WEIGHT)

    template = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)
    template = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, x.dtype), template)
    variables = import_torch(state_dict, template, rules)

    @jax.jit
    def step(variables: Any, x: jax.Array) -> Any:
        def loss(params: Any) -> Any:
            outputs, updates = model.apply(
                {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
            )
            outputs = outputs if isinstance(outputs, dict) else {"logits": outputs}
            total = 0.0
            for output, logits in outputs.items():
                entropy = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
                total = total + (1.0 if output == "logits" else AUX_WEIGHT) * entropy
            return total, updates.get("batch_stats", {})

        return jax.value_and_grad(loss, has_aux=True)(variables["params"])

    (loss, batch_stats), gradients = step(variables, jnp.asarray(x))
    gradients = export_torch({"params": gradients}, rules)
    statistics = export_torch({"batch_stats": batch_stats}, rules) if batch_stats else {}
    if set(statistics) != set(expected["statistics"]):
        raise ValueError("The running statistics have other names.")
    row = {
        "size": list(size),
        "error_loss": abs(float(loss) - expected["loss"]) / abs(expected["loss"]),
        "error_gradients": _largest_error(gradients, expected["gradients"]),
        "error_statistics": _largest_error(statistics, expected["statistics"]),
    }
    row["passed"] = all(
        error <= TRAIN_TOLERANCE for key, error in row.items() if key.startswith("error")
    )
    return row


def _largest_error(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
    """The largest |difference| / |expected| (Euclidean norms) over the tensors.

    The denominator is at least a thousandth of the largest norm: the gradient of a bias before a
    normalisation is zero up to rounding.
    """
    norms = {name: float(np.linalg.norm(array)) for name, array in expected.items()}
    floor = 1e-3 * max(norms.values(), default=1.0)
    errors = [
        float(np.linalg.norm(actual[name] - expected[name])) / max(norms[name], floor)
        for name in expected
    ]
    return max(errors, default=0.0)
