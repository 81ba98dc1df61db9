"""SSD: default boxes on maps of six sizes, each with its own classifier."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from cnn_jax import losses
from cnn_jax.boxes import anchors, coding, matching
from cnn_jax.layers import conv, max_pool
from cnn_jax.models.detection.postprocess import suppress_by_class
from cnn_jax.models.registry import register, row
from cnn_jax.typing import Array, Detections, Mean, Outputs, Targets

xavier = nn.initializers.xavier_uniform()

NEGATIVES = 3  # per positive, section 2.2: "at most 3:1"


def ssd_losses(outputs: Outputs, targets: Targets, mask: Array) -> dict[str, Mean]:
    """Cross-entropy with hard negative mining, and smooth L1, divided by the number of matches.

    arXiv:1512.02325, section 2.2: of an image's background boxes only those with the highest loss
    count, three for each matched box.
    """
    boxes, logits = outputs["anchors"], outputs["class_logits"]
    matched = jax.vmap(
        lambda b, valid: matching.match_bipartite_then_iou(boxes, b, valid, threshold=0.5)
    )(targets.boxes, targets.labels >= 0)  # [B, A]
    found = (matched >= 0) & (mask[:, None] > 0)
    index = jnp.maximum(matched, 0)
    wanted = jnp.take_along_axis(targets.boxes, index[..., None], axis=1)
    label = jnp.take_along_axis(targets.labels, index, axis=1)
    label = jnp.where(found, label + 1, 0)  # 0 is the background
    entropy = optax.softmax_cross_entropy_with_integer_labels(logits, label)  # [B, A]
    hardest = jnp.argsort(jnp.where(found, -jnp.inf, entropy), axis=1, descending=True)
    rank = jnp.argsort(hardest, axis=1)
    hard = (rank < NEGATIVES * found.sum(1, keepdims=True)) & ~found
    deltas = coding.encode(wanted, boxes, weights=coding.SECOND_STAGE_WEIGHTS)
    distance = losses.smooth_l1(outputs["box_deltas"], deltas).sum(-1)
    count = found.sum(dtype=jnp.float32)
    return {
        "class": Mean(jnp.where(found | hard, entropy, 0).sum(), count),
        "box": Mean(jnp.where(found, distance, 0).sum(), count),
    }


def ssd_detect(detector: Any, outputs: Outputs, size: tuple[int, int]) -> Detections:
    """The best boxes after suppression within each class."""
    boxes = coding.decode(
        outputs["box_deltas"], outputs["anchors"], weights=coding.SECOND_STAGE_WEIGHTS
    )
    return suppress_by_class(
        boxes,
        nn.softmax(outputs["class_logits"])[..., 1:],
        size,
        score_threshold=detector.score_threshold,
        iou_threshold=detector.iou_threshold,
        max_detections=detector.max_detections,
        candidates=detector.candidates,
    )


class SSD300(nn.Module):
    """Liu et al. 2016, arXiv:1512.02325, on VGG-16, for images of 300x300 pixels.

    Returns {'class_logits': [B, A, K + 1], the background first, 'box_deltas': [B, A, 4],
    'anchors': [A, 4]} for the A = 8,732 default boxes.

    Stages: the six maps, 'map1' (stride 8) to 'map6' (the whole image).

    Attributes:
        num_classes: number of classes K, without the background; None to return the stages.
        max_detections, score_threshold, iou_threshold, candidates: arguments of
            `suppress_by_class`; section 3.1.
        dtype: type of the computation; parameters are float32.
        axis_name: accepted as in every model, without effect: there is no BatchNorm.
        remat: whether to recompute the convolutions of VGG in the backward pass.
    """

    num_classes: int | None
    max_detections: int = 200
    score_threshold: float = 0.01
    iou_threshold: float = 0.45
    candidates: int = 400
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> dict[str, Array]:
        if x.shape[1:3] != (300, 300):
            raise ValueError(
                f"SSD300 got images of {x.shape[1]}x{x.shape[2]} pixels and takes 300x300: give "
                "image_size=300 and fit=stretch."
            )
        maps = SSDVGG(dtype=self.dtype, name="backbone")(x)
        if self.num_classes is None:
            return {f"map{i}": feature for i, feature in enumerate(maps, start=1)}
        predict = partial(conv, kernel=3, use_bias=True, kernel_init=xavier, dtype=self.dtype)
        logits, deltas = [], []
        for i, feature in enumerate(maps):
            count = 2 + 2 * len(anchors.SSD300_RATIOS[i])
            columns = self.num_classes + 1
            scores = predict(feature, count * columns, name=f"class{i}")
            logits.append(scores.reshape(x.shape[0], -1, columns))
            deltas.append(predict(feature, count * 4, name=f"box{i}").reshape(x.shape[0], -1, 4))
        boxes = anchors.default_boxes(
            (300, 300),
            [feature.shape[1:3] for feature in maps],
            ratios=anchors.SSD300_RATIOS,
            scales=anchors.SSD300_SCALES,
            steps=anchors.SSD300_STEPS,
        )
        return {
            "class_logits": jnp.concatenate(logits, axis=1).astype(jnp.float32),
            "box_deltas": jnp.concatenate(deltas, axis=1).astype(jnp.float32),
            "anchors": jnp.asarray(boxes),
        }

    @nn.nowrap
    def losses(self, outputs: Outputs, targets: Targets, mask: Array) -> dict[str, Mean]:
        """See `ssd_losses`."""
        return ssd_losses(outputs, targets, mask)

    @nn.nowrap
    def detect(self, outputs: Outputs, size: tuple[int, int]) -> Detections:
        """See `ssd_detect`."""
        return ssd_detect(self, outputs, size)


# Figure 2: VGG-16 up to conv5_3, fc6 and fc7 as convolutions ("atrous", dilation 6), then four
# pairs of a 1x1 and a 3x3 convolution: (channels, channels, stride, padding).
EXTRA = ((256, 512, 2, 1), (128, 256, 2, 1), (128, 256, 1, 0), (128, 256, 1, 0))
VGG16 = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))  # convolutions, channels


class SSDVGG(nn.Module):
    """VGG-16 and the layers SSD adds: [B, 300, 300, 3] -> maps of 38, 19, 10, 5, 3, 1 pixels."""

    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> list[Array]:
        layer = partial(conv, use_bias=True, dtype=self.dtype)
        maps = []
        for i, (depth, channels) in enumerate(VGG16, start=1):
            for j in range(1, depth + 1):
                x = nn.relu(layer(x, channels, 3, name=f"conv{i}_{j}"))
            if i == 4:  # section 3.1: conv4_3 has another scale; L2-normalised, times 20 at first
                scale = self.param("scale", nn.initializers.constant(20.0), (channels,))
                norm = jnp.linalg.norm(x.astype(jnp.float32), axis=-1, keepdims=True)
                maps.append((x / jnp.maximum(norm, 1e-12) * scale).astype(x.dtype))
            if i < 5:
                x = max_pool(x, 2, stride=2, ceil=i == 3)  # 75 pixels -> 38
        x = max_pool(x, 3, stride=1, padding=1)  # pool5 no longer shrinks
        xavier_layer = partial(layer, kernel_init=xavier)
        x = nn.relu(xavier_layer(x, 1024, 3, dilation=6, name="fc6"))
        x = nn.relu(xavier_layer(x, 1024, 1, name="fc7"))
        maps.append(x)
        for i, (narrow, wide, stride, padding) in enumerate(EXTRA, start=8):
            x = nn.relu(xavier_layer(x, narrow, 1, name=f"conv{i}_1"))
            x = xavier_layer(x, wide, 3, stride=stride, padding=padding, name=f"conv{i}_2")
            maps.append(x := nn.relu(x))
        return maps


def _torchvision_rules() -> tuple:
    rules, index = [("backbone.scale_weight", "backbone/scale")], 0
    for i, (depth, _) in enumerate(VGG16, start=1):
        if i == 5:
            index = 1  # in a separate sequence, after its pooling
        for j in range(1, depth + 1):
            part = "features" if i < 5 else "extra.0"
            rules.append((f"backbone.{part}.{index}", f"backbone/conv{i}_{j}"))
            index += 2
        index += 1
    rules += [("backbone.extra.0.7.1", "backbone/fc6"), ("backbone.extra.0.7.3", "backbone/fc7")]
    for i in range(1, 5):
        rules.append((f"backbone.extra.{i}.0", f"backbone/conv{i + 7}_1"))
        rules.append((f"backbone.extra.{i}.2", f"backbone/conv{i + 7}_2"))
    return (
        *rules,
        ("head.classification_head.module_list.{i}", "class{i}"),
        ("head.regression_head.module_list.{i}", "box{i}"),
    )


register(
    SSD300,
    # torchvision's figures, for 90 classes and the background
    {"ssd300_vgg16": row(35_641_826, 34.858)},
    paper="Liu et al. 2016, SSD: Single Shot MultiBox Detector, arXiv:1512.02325",
    source="torchvision 0.29",
    input_shape=(300, 300, 3),
    num_classes=90,
    min_size=300,
    task="detection",
    rules={"torchvision": _torchvision_rules()},
)
