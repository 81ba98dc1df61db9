"""Builds, randomises and runs the PyTorch networks that ours are compared with. Needs torch.

The table TIMM lists timm's networks that we have too; torchvision's have the same names.
"""

import re
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

_SAME_NAME = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "wide_resnet50_2",
    "wide_resnet101_2",
    "vgg11",
    "vgg13",
    "vgg16",
    "vgg19",
    "vgg11_bn",
    "vgg13_bn",
    "vgg16_bn",
    "vgg19_bn",
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
    "convnext_tiny",
    "convnext_small",
    "convnext_base",
    "convnext_large",
)

# timm's name -> (our name, our fields that differ). Names follow a scheme where they can.
_SAME = {"padding": "SAME", "bn_epsilon": 1e-3}  # as trained with TensorFlow
_TORCH = {"padding": None, "bn_epsilon": 1e-5}
TIMM: dict[str, tuple[str, Mapping[str, Any]]] = {
    **{name: (name, {}) for name in _SAME_NAME},
    **{f"seresnet{n}": (f"resnet{n}", {"squeeze_ratio": 16}) for n in (50, 101, 152)},
    **{f"resnetv2_{n}": (f"resnet{n}_v2", {}) for n in (18, 34, 50, 101, 152)},
    **{f"efficientnet_b{n}": (f"efficientnet_b{n}", {"bn_epsilon": 1e-5}) for n in range(8)},
    **{f"tf_efficientnet_b{n}": (f"efficientnet_b{n}", _SAME) for n in range(8)},
    **{f"efficientnet_lite{n}": (f"efficientnet_lite{n}", _TORCH) for n in range(5)},
    **{f"tf_efficientnet_lite{n}": (f"efficientnet_lite{n}", {}) for n in range(5)},
    **{f"tf_efficientnetv2_{n}": (f"efficientnet_v2_{n}", _SAME) for n in "sml"},
    "inception_v3": ("inception_v3", {"aux_heads": False}),
    "mobilenetv2_100": ("mobilenet_v2", {}),
    "mnasnet_050": ("mnasnet0_5", {}),
    "mnasnet_075": ("mnasnet0_75", {}),
    "mnasnet_100": ("mnasnet1_0", {}),
    "regnetx_004_tv": ("regnet_x_400mf", {}),  # timm's own regnetx_004 ends with 384 channels
    "regnety_004": ("regnet_y_400mf", {}),
    "regnetx_008": ("regnet_x_800mf", {}),
    "regnety_008_tv": ("regnet_y_800mf", {}),
    "regnetx_080": ("regnet_x_8gf", {}),
    "regnety_080_tv": ("regnet_y_8gf", {}),  # timm's own regnety_080 has groups of 24
    **{
        f"regnet{kind}_{number}": (f"regnet_{kind}_{size}", {})
        for kind in "xy"
        for number, size in {
            "016": "1_6gf",
            "032": "3_2gf",
            "160": "16gf",
            "320": "32gf",
        }.items()
    },
    "regnety_1280": ("regnet_y_128gf", {}),
}


def build(source: str, name: str, *, aux_heads: bool = False) -> Any:
    """A network of 'torchvision' or 'timm', without published weights.

    Args:
        source: 'torchvision' or 'timm'.
        name: the publisher's name.
        aux_heads: whether GoogLeNet has its auxiliary heads; Inception v3 always does.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings about the initial weights, which are replaced
        if source == "timm":
            import timm

            return timm.create_model(name, pretrained=False)
        import torchvision

        options: dict[str, Any] = {}
        if name in ("googlenet", "inception_v3"):
            options = {"init_weights": False, "aux_logits": aux_heads or name == "inception_v3"}
        return torchvision.models.get_model(name, weights=None, **options)


def randomise(network: Any, seed: int, x: np.ndarray) -> None:
    """Draws every parameter and every running statistic anew, so that each of them matters.

    Nothing keeps its initial 0 or 1, which would hide a wrong mapping. Kernels preserve the scale
    of their input (variance 2 / fan_in), scales are about a half, and running statistics lie near
    those of the batch x [B, *space, C]: with arbitrary ones, activations of a network with fifty
    residual blocks grow until its squeeze-and-excitation saturates, and only rounding is compared.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if not tensor.is_floating_point() or "running_" in name:
            continue
        if is_scale(name, tensor.ndim):
            tensor.uniform_(0.3, 0.7, generator=generator)
        elif tensor.ndim < 2:  # biases
            tensor.normal_(0, 0.1, generator=generator)
        else:
            tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5, generator=generator)

    without_chance(network)
    norms = [m for m in network.modules() if "BatchNorm" in type(m).__name__]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(channels_first(x))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            mean, variance = norm.running_mean, norm.running_var
            variance += 0.1 * variance.mean()  # leaves no channel dead
            mean += (
                0.1
                * variance.sqrt()
                * torch.randn(mean.shape, generator=generator, dtype=mean.dtype)
            )
            variance *= 0.8 + 0.8 * torch.rand(
                variance.shape, generator=generator, dtype=mean.dtype
            )


def is_scale(name: str, rank: int) -> bool:
    """Whether a tensor scales channels: a norm's weight or ConvNeXt's layer scale."""
    is_weight = name.endswith("weight") and rank == 1
    return is_weight or re.search(r"(layer_scale|\.gamma)$", name) is not None


def without_chance(network: Any) -> None:
    """Turns dropout and stochastic depth off, so that training steps can be compared."""
    for module in network.modules():
        kind = type(module).__name__
        if kind.startswith("Dropout"):
            module.p = 0.0
        elif kind in ("StochasticDepth", "DropPath"):
            vars(module).update({"p": 0.0, "drop_prob": 0.0})


def run(network: Any, x: np.ndarray) -> np.ndarray:
    """Logits [B, K] of x [B, *space, C], in evaluation mode."""
    import torch

    with torch.no_grad():
        return network.eval()(channels_first(x)).numpy()


def channels_first(x: np.ndarray) -> Any:
    """[B, *space, C] -> a tensor [B, C, *space]."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))


def to_numpy(network: Any) -> dict[str, np.ndarray]:
    """The state dict as numpy arrays that share its memory."""
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


def load(network: Any, tensors: Mapping[str, np.ndarray]) -> None:
    """Loads tensors strictly: none may be missing or unexpected."""
    import torch

    state_dict = network.state_dict()  # with the version that torchvision's MNASNet looks for
    known = {k for k in state_dict if not k.endswith("num_batches_tracked")}
    if known != set(tensors):
        raise ValueError(f"The names differ from PyTorch's: {sorted(known ^ set(tensors))[:10]}")
    for name, array in tensors.items():
        state_dict[name] = torch.from_numpy(np.array(array))
    network.load_state_dict(state_dict)


def train_step(network: Any, x: np.ndarray, labels: np.ndarray, aux_weight: float) -> dict:
    """The loss, gradients and new running statistics of a training step, by PyTorch's names.

    The running variances are converted: for a batch of n values PyTorch accumulates n / (n - 1)
    times the variance, and Flax (like the paper and TensorFlow) the variance itself.
    """
    import torch

    old = {k: v.clone() for k, v in network.state_dict().items() if k.endswith("running_var")}
    counts: dict[str, int] = {}
    momenta: dict[str, float] = {}
    for name, module in network.named_modules():
        if "BatchNorm" in type(module).__name__:

            def count(module: Any, inputs: Any, name: str = name) -> None:
                counts[name] = inputs[0].numel() // inputs[0].shape[1]

            module.register_forward_pre_hook(count)
            momenta[name] = module.momentum
    outputs = network.train()(channels_first(x))
    target = torch.from_numpy(labels.astype(np.int64))
    entropy = torch.nn.functional.cross_entropy
    if isinstance(outputs, torch.Tensor):
        loss = entropy(outputs, target)
    else:  # a named tuple of logits and auxiliary logits
        loss = entropy(outputs[0], target)
        loss = loss + aux_weight * sum(entropy(aux, target) for aux in outputs[1:])
    loss.backward()
    statistics = {}
    for name, tensor in network.state_dict().items():
        if name.endswith("running_mean"):
            statistics[name] = tensor.numpy().copy()
        elif name.endswith("running_var"):
            module = name.removesuffix(".running_var")
            n, momentum = counts[module], momenta[module]
            batch = (tensor - (1 - momentum) * old[name]) / momentum * (n - 1) / n
            statistics[name] = ((1 - momentum) * old[name] + momentum * batch).numpy()
    gradients = {name: p.grad.numpy() for name, p in network.named_parameters()}
    return {"loss": loss.item(), "gradients": gradients, "statistics": statistics}


def versions() -> dict[str, str]:
    """Versions of the packages compared with."""
    import importlib.metadata

    return {name: importlib.metadata.version(name) for name in ("torch", "torchvision", "timm")}
