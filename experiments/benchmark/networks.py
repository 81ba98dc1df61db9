"""The networks of `experiments.benchmark.train_step`, each with a batch of its own.

No JAX here: PyTorch's processes do not load it, so that it does not count as their memory.
"""

from typing import NamedTuple

import numpy as np


class Network(NamedTuple):
    """A row: our name and fields of the network, the batch and the input."""

    name: str
    model: str
    batch: int
    input_shape: tuple[int, ...]
    fields: dict
    dense: bool = False  # whether it gives a class for every pixel
    num_classes: int = 10


TABLE = [
    Network("resnet18", "resnet18", 64, (32, 32, 3), {"stem": "small"}),
    Network("resnet50", "resnet50", 16, (96, 96, 3), {}),
    Network("wrn_16_4", "wrn_16_4", 64, (32, 32, 3), {}),
    Network("vgg11_bn", "vgg11_bn", 16, (64, 64, 3), {}),
    Network("resnext50_32x4d", "resnext50_32x4d", 16, (96, 96, 3), {}),
    Network("mobilenet_v2", "mobilenet_v2", 16, (96, 96, 3), {}),
    Network("efficientnet_b0", "efficientnet_b0", 16, (96, 96, 3), {}),
    Network("convnext_tiny", "convnext_tiny", 16, (96, 96, 3), {}),
    Network("densenet121", "densenet121", 16, (64, 64, 3), {}),
    Network("unet", "unet_same", 8, (96, 96, 3), {"width": 32}, dense=True),
    Network(
        "deeplabv3_mobilenet_v3_large",
        "deeplabv3_mobilenet_v3_large",
        4,
        (128, 128, 3),
        {"aux_stage": None},
        dense=True,
        num_classes=21,
    ),
    Network("resnet18_1d", "resnet18", 64, (1024, 1), {}),
]


def arrays(network: Network) -> tuple[np.ndarray, np.ndarray]:
    """Inputs [B, *space, C] and labels [B] or [B, *space]."""
    random = np.random.default_rng(0)
    x = random.standard_normal((network.batch, *network.input_shape), np.float32)
    shape = x.shape[:-1] if network.dense else x.shape[:1]
    return x, random.integers(0, network.num_classes, shape)


def cross_entropy(scores: np.ndarray, y: np.ndarray) -> float:
    """Mean cross-entropy of scores [.., K] for labels [..], in float64."""
    scores = scores.astype(np.float64)
    scores -= scores.max(-1, keepdims=True)
    right = np.take_along_axis(scores, y[..., None], -1)[..., 0]
    return float((np.log(np.exp(scores).sum(-1)) - right).mean())
