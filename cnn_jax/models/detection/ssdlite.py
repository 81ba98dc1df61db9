"""SSDLite: SSD with depthwise separable predictions, on a mobile network."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from cnn_jax.boxes import anchors
from cnn_jax.layers import ConvNormAct, InvertedResidual, batch_norm, conv
from cnn_jax.models import mobilenet_v3
from cnn_jax.models.detection.ssd import ssd_detect, ssd_losses
from cnn_jax.models.mobilenet_v3 import ACTIVATIONS, Block
from cnn_jax.models.registry import register, row
from cnn_jax.typing import Array, Detections, Mean, Outputs, Targets

normal = nn.initializers.normal(0.03)  # as in torchvision, after the MobileNet code

# Howard et al. 2019, arXiv:1905.02244, table 6 and section 6.3: for detection "we additionally
# reduce the channel counts of all feature layers between C4 and C5 by a factor of 2".
REDUCED = (
    *mobilenet_v3.LARGE[:12],
    Block(5, 672, 80, True, "HS", 2),
    Block(5, 480, 80, True, "HS", 1),
    Block(5, 480, 80, True, "HS", 1),
)
C4 = 13  # the last block with a stride; its expansion is the first map
EXTRA = (512, 256, 256, 128)  # channels of the four maps after MobileNet's last
PER_PLACE = 6  # two squares, and four boxes of the ratios 2 and 3


class SSDLite(nn.Module):
    """Sandler et al. 2018, arXiv:1801.04381, section 6.2, on MobileNetV3-Large.

    Returns {'class_logits': [B, A, K + 1], the background first, 'box_deltas': [B, A, 4],
    'anchors': [A, 4]}; A is 3,234 for 320x320 pixels.

    Stages: the six maps, 'map1' (stride 16) to 'map6'.

    Attributes:
        num_classes: number of classes K, without the background; None to return the stages.
        blocks: rows of MobileNetV3's table.
        max_detections, score_threshold, iou_threshold, candidates: arguments of
            `suppress_by_class`.
        dtype, axis_name, remat: see `cnn_jax.models.resnet.ResNet`.
    """

    num_classes: int | None
    blocks: Sequence[Block] = REDUCED
    max_detections: int = 300
    score_threshold: float = 0.001
    iou_threshold: float = 0.55
    candidates: int = 300
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> dict[str, Array]:
        # torchvision's momentum of 0.03 is one minus this. Epsilon is that of the mobile networks.
        norm = batch_norm(
            train, momentum=0.97, epsilon=1e-3, dtype=self.dtype, axis_name=self.axis_name
        )
        unit = partial(ConvNormAct, norm=norm, act=nn.relu6, kernel_init=normal, dtype=self.dtype)
        maps = self._maps(x, norm)
        for i, channels in enumerate(EXTRA, start=1):
            y = unit(channels // 2, 1, name=f"extra{i}_reduce")(maps[-1])
            y = unit(channels // 2, 3, stride=2, groups=channels // 2, name=f"extra{i}_depthwise")(
                y
            )
            maps.append(unit(channels, 1, name=f"extra{i}_expand")(y))
        if self.num_classes is None:
            return {f"map{i}": feature for i, feature in enumerate(maps, start=1)}

        def predict(kind: str, columns: int) -> Array:
            parts = []
            for i, feature in enumerate(maps):
                y = unit(
                    feature.shape[-1], 3, groups=feature.shape[-1], name=f"{kind}{i}_depthwise"
                )(feature)
                y = conv(
                    y,
                    PER_PLACE * columns,
                    1,
                    use_bias=True,
                    kernel_init=normal,
                    dtype=self.dtype,
                    name=f"{kind}{i}_predict",
                )
                parts.append(y.reshape(x.shape[0], -1, columns))
            return jnp.concatenate(parts, axis=1).astype(jnp.float32)

        boxes = anchors.default_boxes(
            x.shape[1:3],
            [feature.shape[1:3] for feature in maps],
            ratios=anchors.SSDLITE_RATIOS,
            scales=anchors.SSDLITE_SCALES,
        )
        return {
            "class_logits": predict("class", self.num_classes + 1),
            "box_deltas": predict("box", 4),
            "anchors": jnp.asarray(boxes),
        }

    def _maps(self, x: Array, norm: Any) -> list[Array]:
        """The expansion of block C4 (stride 16), and the last layer of MobileNetV3 (32)."""
        unit = partial(ConvNormAct, norm=norm, act=nn.hard_swish, dtype=self.dtype)
        residual = nn.remat(InvertedResidual) if self.remat else InvertedResidual
        x = unit(mobilenet_v3.STEM, 3, stride=2, name="backbone_stem")(x)
        maps = []
        for i, block in enumerate(self.blocks, start=1):
            if i == C4:
                # The map is inside the block, after its expansion.
                x = unit(block.expanded, 1, name=f"backbone_block{i:02}_expand")(x)
                maps.append(x)
            x = residual(
                features=block.channels,
                expanded=block.expanded,
                kernel=block.kernel,
                stride=block.stride,
                squeezed=mobilenet_v3.round_channels(block.expanded // 4) if block.squeeze else 0,
                act=ACTIVATIONS[block.act],
                gate=nn.hard_sigmoid,
                shortcut=block.stride == 1,
                norm=norm,
                dtype=self.dtype,
                name=f"backbone_block{i:02}",
            )(x)
        maps.append(unit(6 * x.shape[-1], 1, name="backbone_last_conv")(x))
        return maps

    @nn.nowrap
    def losses(self, outputs: Outputs, targets: Targets, mask: Array) -> dict[str, Mean]:
        """See `cnn_jax.models.detection.ssd.ssd_losses`."""
        return ssd_losses(outputs, targets, mask)

    @nn.nowrap
    def detect(self, outputs: Outputs, size: tuple[int, int]) -> Detections:
        """See `cnn_jax.models.detection.ssd.ssd_detect`."""
        return ssd_detect(self, outputs, size)


def _torchvision_rules() -> tuple:
    """torchvision's names. It cuts the network into two sequences in the middle of block C4."""
    rules: list[tuple[str, str]] = []

    def unit(theirs: str, ours: str) -> None:
        rules.append((f"{theirs}.0", f"{ours}/conv"))
        rules.append((f"{theirs}.1", f"{ours}/norm"))

    unit("backbone.features.0.0", "backbone_stem")
    channels = mobilenet_v3.STEM
    for i, block in enumerate(REDUCED, start=1):
        ours = f"backbone_block{i:02}"
        layers = ["expand"] * (block.expanded != channels) + ["depthwise"]
        layers += ["se"] * block.squeeze + ["project"]
        channels = block.channels
        if i < C4:
            theirs = f"backbone.features.0.{i}.block"
        elif i == C4:
            unit(f"backbone.features.0.{i}", f"{ours}_expand")
            theirs, layers = "backbone.features.1.0", layers[1:]
        else:
            theirs = f"backbone.features.1.{i - C4}.block"
        # the rest of C4 keeps its numbers from the whole block
        for j, layer in enumerate(layers, start=int(i == C4)):
            if layer == "se":
                rules.append((f"{theirs}.{j}.fc{{k}}", f"{ours}/se/fc{{k}}"))
            else:
                unit(f"{theirs}.{j}", f"{ours}/{layer}")
    unit(f"backbone.features.1.{len(REDUCED) - C4 + 1}", "backbone_last_conv")
    for i in range(1, 5):
        for j, layer in enumerate(("reduce", "depthwise", "expand")):
            unit(f"backbone.extra.{i - 1}.{j}", f"extra{i}_{layer}")
    for theirs, ours in (("classification", "class"), ("regression", "box")):
        for i in range(6):
            unit(f"head.{theirs}_head.module_list.{i}.0", f"{ours}{i}_depthwise")
            rules.append((f"head.{theirs}_head.module_list.{i}.1", f"{ours}{i}_predict"))
    return tuple(rules)


register(
    SSDLite,
    # torchvision's figures, for 90 classes and the background
    {"ssdlite320_mobilenet_v3_large": row(3_440_060, 0.583)},
    paper="Sandler et al. 2018, MobileNetV2, arXiv:1801.04381, section 6.2; Howard et al. 2019, "
    "Searching for MobileNetV3, arXiv:1905.02244, section 6.3",
    source="torchvision 0.29",
    input_shape=(320, 320, 3),
    num_classes=90,
    min_size=32,
    task="detection",
    rules={"torchvision": _torchvision_rules()},
)
