"""Fully convolutional networks: a classifier at every position, enlarged to the image."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn

from cnn_jax.layers import ConvNormAct, ModuleFactory, batch_norm, conv, max_pool
from cnn_jax.layers.resize import resize_linear
from cnn_jax.models import resnet
from cnn_jax.models.backbones import backbone_rules, stage, stages_of
from cnn_jax.models.registry import register, row
from cnn_jax.typing import Array

TABLE = {
    # Section 4: "FCN-32s" scores VGG-16 after its last pooling (stride 32). "FCN-16s" adds scores
    # of stride 16 on the way up, and "FCN-8s" also of stride 8. Here the head is one 3x3
    # convolution; the paper turns VGG's dense layers into one of 7x7 with 4096 channels.
    "fcn32s_vgg16": row(None, backbone="vgg16", pool_stages=True),
    "fcn16s_vgg16": row(None, backbone="vgg16", pool_stages=True, skips=("conv4",)),
    "fcn8s_vgg16": row(None, backbone="vgg16", pool_stages=True, skips=("conv4", "conv3")),
    # torchvision's, with a dilated ResNet instead of skips; with the auxiliary head and 21 classes.
    "fcn_resnet50": row(
        35_322_218, 152.717, backbone="resnet50", output_stride=8, aux_stage="layer3"
    ),
    "fcn_resnet101": row(
        54_314_346, 232.738, backbone="resnet101", output_stride=8, aux_stage="layer3"
    ),
}


class FCN(nn.Module):
    """Long, Shelhamer and Darrell 2015 on any backbone.

    Stages: the backbone's.

    Attributes:
        num_classes: number of classes K; None to return the stages.
        backbone: a classification network of the registry.
        output_stride: 8 or 16, to dilate the backbone's last stages (arXiv:1511.07122); None leaves
            it as it is.
        skips: stages whose scores are added on the way up, deep to shallow (section 4.2).
        pool_stages: whether stages are pooled before they are scored: those of VGG end before a
            pooling, and the paper scores what comes after it.
        aux_stage: stage of an auxiliary head; None for no such head. With one, the model returns
            {'logits', 'aux'} in training.
        drop_rate: dropout rate in the heads, before the scores.
        dtype: type of the computation; parameters and statistics are float32.
        axis_name: pmap axis of the BatchNorm statistics.
        remat: whether the backbone is recomputed in the backward pass.
    """

    num_classes: int | None
    backbone: str
    output_stride: int | None = None
    skips: Sequence[str] = ()
    pool_stages: bool = False
    aux_stage: str | None = None
    drop_rate: float = 0.1
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    def __call__(self, x: Array, *, train: bool) -> Array | dict[str, Array]:
        outputs = self.outputs(x, train=train, auxiliary=train or self.is_initializing())
        if self.num_classes is None or (train and self.aux_stage is not None):
            return outputs
        return outputs["logits"]

    @nn.compact
    def outputs(self, x: Array, *, train: bool, auxiliary: bool) -> dict[str, Array]:
        """{'logits', 'aux'}, each [B, H, W, K]; 'aux' if `auxiliary` and there is such a head.

        `__call__` asks for it in training only, `model.apply(..., method="outputs")` at any time.
        """
        stages = stages_of(self, x, train=train, output_stride=self.output_stride)
        if self.num_classes is None:
            return stages
        if self.pool_stages:
            stages = {name: max_pool(y, 2, stride=2) for name, y in stages.items()}

        norm = batch_norm(train, dtype=self.dtype, axis_name=self.axis_name)
        head = {"norm": norm, "drop_rate": self.drop_rate, "train": train, "dtype": self.dtype}
        deepest = stage(stages, None, backbone=self.backbone)
        scores = FCNHead(self.num_classes, **head, name="head")(deepest)  # [B, H/s, W/s, K]
        for name in self.skips:
            skip = stage(stages, name, backbone=self.backbone)
            more = conv(
                skip,
                self.num_classes,
                1,
                use_bias=True,
                kernel_init=nn.initializers.zeros,  # section 4.2: the new network starts as the old
                dtype=self.dtype,
                name=f"score_{name}",
            )
            scores = resize_linear(scores, more.shape[1:-1]) + more
        outputs = {"logits": resize_linear(scores, x.shape[1:-1])}  # [B, H, W, K]
        if auxiliary and self.aux_stage is not None:
            middle = stage(stages, self.aux_stage, backbone=self.backbone)
            aux_head = FCNHead(self.num_classes, **head, name="aux_head")
            outputs["aux"] = resize_linear(aux_head(middle), x.shape[1:-1])
        return outputs


class FCNHead(nn.Module):
    """torchvision's head: a 3x3 convolution to a quarter of the channels, dropout, the scores."""

    num_classes: int
    norm: ModuleFactory
    drop_rate: float
    train: bool
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:  # [B, H, W, C] -> [B, H, W, K]
        x = ConvNormAct(x.shape[-1] // 4, 3, norm=self.norm, dtype=self.dtype, name="conv")(x)
        x = nn.Dropout(self.drop_rate, deterministic=not self.train, name="drop")(x)
        return conv(x, self.num_classes, 1, use_bias=True, dtype=self.dtype, name="scores")


def fcn_head_rules(theirs: str, ours: str) -> list[tuple[str, str]]:
    """torchvision's names of an `FCNHead`."""
    return [
        (f"{theirs}.0", f"{ours}/conv/conv"),
        (f"{theirs}.1", f"{ours}/conv/norm"),
        (f"{theirs}.4", f"{ours}/scores"),
    ]


TORCHVISION_RULES = (
    *backbone_rules(resnet.TORCHVISION_RULES, drop=("fc",)),
    *fcn_head_rules("classifier", "head"),
    *fcn_head_rules("aux_classifier", "aux_head"),
)

register(
    FCN,
    TABLE,
    paper="Long et al. 2015, Fully Convolutional Networks for Semantic Segmentation, "
    "arXiv:1411.4038",
    source="torchvision 0.29, for 520x520 pixels",
    input_shape=(520, 520, 3),
    num_classes=21,
    task="segmentation",
    rules={"torchvision": TORCHVISION_RULES},
)
