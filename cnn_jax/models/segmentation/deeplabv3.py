"""DeepLabV3: parallel convolutions at several dilations, on a dilated backbone."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from cnn_jax.layers import ConvNormAct, ModuleFactory, batch_norm, conv
from cnn_jax.layers.resize import resize_linear
from cnn_jax.models import mobilenet_v3, resnet
from cnn_jax.models.backbones import backbone_rules, stage, stages_of
from cnn_jax.models.registry import register, row
from cnn_jax.models.segmentation.fcn import FCNHead, fcn_head_rules
from cnn_jax.typing import Array

# Section 3.3: (6, 12, 18) for an output stride of 16, doubled for 8.
RATES: dict[int | None, tuple[int, ...]] = {16: (6, 12, 18), 8: (12, 24, 36)}

HEAD_RULES = (
    ("classifier.0.convs.0.0", "aspp/conv1x1/conv"),
    ("classifier.0.convs.0.1", "aspp/conv1x1/norm"),
    *((f"classifier.0.convs.{i}.0", f"aspp/dilated{i}/conv") for i in (1, 2, 3)),
    *((f"classifier.0.convs.{i}.1", f"aspp/dilated{i}/norm") for i in (1, 2, 3)),
    ("classifier.0.convs.4.1", "aspp/pooled/conv"),
    ("classifier.0.convs.4.2", "aspp/pooled/norm"),
    ("classifier.0.project.0", "aspp/project/conv"),
    ("classifier.0.project.1", "aspp/project/norm"),
    ("classifier.1", "conv/conv"),
    ("classifier.2", "conv/norm"),
    ("classifier.4", "scores"),
    *fcn_head_rules("aux_classifier", "aux_head"),
)
RESNET_RULES = (*backbone_rules(resnet.TORCHVISION_RULES, drop=("fc",)), *HEAD_RULES)
MOBILENET_RULES = (
    *backbone_rules(
        mobilenet_v3.torchvision_rules(mobilenet_v3.LARGE), drop=("fc1", "fc2"), strip="features."
    ),
    *HEAD_RULES,
)

TABLE = {
    # With the auxiliary head and 21 classes.
    "deeplabv3_resnet50": row(42_004_074, 178.722, backbone="resnet50", aux_stage="layer3"),
    "deeplabv3_resnet101": row(60_996_202, 258.743, backbone="resnet101", aux_stage="layer3"),
    # torchvision uses the rates of stride 8 at stride 16 too.
    "deeplabv3_mobilenet_v3_large": row(
        11_029_328,
        10.452,
        backbone="mobilenet_v3_large",
        output_stride=16,
        rates=(12, 24, 36),
        aux_stage="block04",
        changes={"rules": {"torchvision": MOBILENET_RULES}},
    ),
}


class DeepLabV3(nn.Module):
    """Chen et al. 2017 on any backbone with dilation.

    Stages: the backbone's.

    Attributes:
        num_classes: number of classes K; None to return the stages.
        backbone: a classification network of the registry.
        output_stride: stride of the backbone, 8 or 16; None leaves it as it is.
        rates: dilations of the parallel convolutions; None for those of section 3.3.
        features: channels of each of them.
        aux_stage: stage of an auxiliary FCN head; None for no such head. With one, the model
            returns {'logits', 'aux'} in training.
        drop_rate: dropout rate after the parallel convolutions.
        aux_drop_rate: dropout rate in the auxiliary head.
        dtype: type of the computation; parameters and statistics are float32.
        axis_name: pmap axis of the BatchNorm statistics.
        remat: whether the backbone is recomputed in the backward pass.
    """

    num_classes: int | None
    backbone: str
    output_stride: int | None = 8
    rates: Sequence[int] | None = None
    features: int = 256
    aux_stage: str | None = None
    drop_rate: float = 0.5
    aux_drop_rate: float = 0.1
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

        norm = batch_norm(train, dtype=self.dtype, axis_name=self.axis_name)
        y = stage(stages, None, backbone=self.backbone)  # [B, H/8, W/8, C]
        y = ASPP(
            self.rates or RATES.get(self.output_stride, RATES[16]),
            self.features,
            norm,
            self.drop_rate,
            train,
            self.dtype,
            name="aspp",
        )(y)
        y = ConvNormAct(self.features, 3, norm=norm, dtype=self.dtype, name="conv")(y)
        y = conv(y, self.num_classes, 1, use_bias=True, dtype=self.dtype, name="scores")
        outputs = {"logits": resize_linear(y, x.shape[1:-1])}  # [B, H, W, K]
        if auxiliary and self.aux_stage is not None:
            middle = stage(stages, self.aux_stage, backbone=self.backbone)
            aux_head = FCNHead(
                self.num_classes, norm, self.aux_drop_rate, train, self.dtype, name="aux_head"
            )
            outputs["aux"] = resize_linear(aux_head(middle), x.shape[1:-1])
        return outputs


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling with a branch for the whole image (section 3.3, figure 5).

    Attributes:
        rates: dilations of the 3x3 convolutions.
        features: channels of each branch and of the result.
        norm: factory of the normalisation.
        drop_rate: dropout rate at the end.
        train: whether dropout is active.
    """

    rates: Sequence[int]
    features: int
    norm: ModuleFactory
    drop_rate: float
    train: bool
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:  # [B, H, W, C] -> [B, H, W, features]
        unit = partial(ConvNormAct, self.features, norm=self.norm, dtype=self.dtype)
        branches = [unit(1, name="conv1x1")(x)]
        for i, rate in enumerate(self.rates, start=1):
            branches.append(unit(3, dilation=rate, name=f"dilated{i}")(x))
        pooled = x.mean(tuple(range(1, x.ndim - 1)), keepdims=True)  # [B, 1, 1, C]
        pooled = unit(1, name="pooled")(pooled)
        branches.append(jnp.broadcast_to(pooled, branches[0].shape))
        x = unit(1, name="project")(jnp.concatenate(branches, -1))
        return nn.Dropout(self.drop_rate, deterministic=not self.train, name="drop")(x)


register(
    DeepLabV3,
    TABLE,
    paper="Chen et al. 2017, Rethinking Atrous Convolution for Semantic Image Segmentation, "
    "arXiv:1706.05587",
    source="torchvision 0.29, for 520x520 pixels",
    input_shape=(520, 520, 3),
    num_classes=21,
    task="segmentation",
    rules={"torchvision": RESNET_RULES},
)
