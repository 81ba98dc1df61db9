"""The first stage of Faster R-CNN: boxes that may contain an object of any class."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax import boxes as box_ops
from cnn_jax.boxes import coding, matching
from cnn_jax.boxes.nms import nms
from cnn_jax.boxes.sampling import sample_balanced
from cnn_jax.models.detection.dense_head import small_normal
from cnn_jax.typing import Array, Targets

SMALLEST_SIDE = 1e-3  # pixels, as in torchvision


class Proposals(NamedTuple):
    """Proposed boxes, best first, then padding.

    Attributes:
        boxes: [B, P, 4]; no gradient flows through them.
        valid: bool [B, P], False for padding.
    """

    boxes: Array
    valid: Array


class RegionProposalHead(nn.Module):
    """Levels [B, H, W, C] -> for each level objectness [B, A] and box deltas [B, A, 4].

    Ren et al. 2015, arXiv:1506.01497, section 3.1: a small network that slides over every level.

    Attributes:
        anchors: number of anchors per cell.
        depth: number of 3x3 convolutions, 1 in the paper.
    """

    anchors: int
    depth: int = 1
    dtype: Any = None

    @nn.compact
    def __call__(self, levels: Sequence[Array]) -> list[tuple[Array, Array]]:
        channels = levels[0].shape[-1]

        # one set of layers for all levels
        def layer(features: int, kernel: int, name: str) -> nn.Conv:
            return nn.Conv(
                features,
                (kernel, kernel),
                padding=kernel // 2,
                kernel_init=small_normal,
                dtype=self.dtype,
                name=name,
            )

        tower = [layer(channels, 3, f"conv{i}") for i in range(self.depth)]
        objectness = layer(self.anchors, 1, "objectness")
        deltas = layer(4 * self.anchors, 1, "deltas")
        found = []
        for x in levels:
            for convolution in tower:
                x = nn.relu(convolution(x))
            batch = x.shape[0]
            found.append(
                (
                    objectness(x).reshape(batch, -1).astype(jnp.float32),
                    deltas(x).reshape(batch, -1, 4).astype(jnp.float32),
                )
            )
        return found


def propose(
    heads: Sequence[tuple[Array, Array]],
    anchors: Sequence[Array],
    size: tuple[int, int],
    *,
    candidates: int,
    count: int,
    iou_threshold: float,
    score_threshold: float,
) -> Proposals:
    """The best boxes of all levels, after suppression within each.

    Args:
        heads: objectness [B, A] and deltas [B, A, 4] of each level.
        anchors: anchors [A, 4] of each level.
        size: (height, width) of the image, to which the boxes are clipped.
        candidates: number of boxes of each level that take part.
        count: number P of proposals.
        iou_threshold: IoU above which a better box suppresses another.
        score_threshold: least objectness, in 0..1.
    """

    def one_level(logits: Array, deltas: Array, anchors: Array) -> tuple[Array, Array]:
        best, place = jax.lax.top_k(logits, min(candidates, len(logits)))
        boxes = coding.decode(deltas[place], anchors[place])
        boxes = box_ops.clip(boxes, size[1], size[0])
        score = nn.sigmoid(best)
        usable = box_ops.is_proper(boxes, smallest_side=SMALLEST_SIDE) & (score >= score_threshold)
        kept, valid = nms(
            boxes, score, threshold=iou_threshold, size=min(count, len(best)), valid=usable
        )
        return boxes[kept], jnp.where(valid, score[kept], -1.0)

    def one_image(heads: Sequence[tuple[Array, Array]]) -> Proposals:
        found = [one_level(*head, own) for head, own in zip(heads, anchors, strict=True)]
        boxes, scores = (jnp.concatenate(parts) for parts in zip(*found, strict=True))
        missing = max(count - len(scores), 0)
        scores = jnp.pad(scores, (0, missing), constant_values=-1.0)
        best, order = jax.lax.top_k(scores, count)
        valid = best >= 0
        chosen = boxes[jnp.where(valid, order, 0)]
        return Proposals(jnp.where(valid[:, None], chosen, 0.0), valid)

    # One image after the other, because the overlaps of all pairs of candidates take memory.
    return jax.lax.map(one_image, jax.lax.stop_gradient(list(heads)))


class Drawn(NamedTuple):
    """Boxes to learn from, S per image.

    Attributes:
        indices: int32 [B, S], indices into the given boxes.
        labels: int32 [B, S]: the class 0..K-1, -1 for background, -2 for padding.
        wanted: [B, S, 4], the box of the object.
    """

    indices: Array
    labels: Array
    wanted: Array


def draw(
    key: Array,
    boxes: Array,
    valid: Array,
    targets: Targets,
    *,
    high: float,
    low: float,
    keep_best: bool,
    size: int,
    share: float,
) -> Drawn:
    """Matches boxes to objects, and samples boxes with an object and without.

    Args:
        key: random key of the batch.
        boxes: [B, N, 4].
        valid: bool [B, N].
        targets: [B, M] objects.
        high, low, keep_best: see `cnn_jax.boxes.matching.match_by_iou`.
        size, share: see `cnn_jax.boxes.sampling.sample_balanced`.
    """

    def one(key: Array, boxes: Array, valid: Array, objects: Array, labels: Array) -> Drawn:
        matched = matching.match_by_iou(
            boxes, objects, labels >= 0, high=high, low=low, keep_best=keep_best
        )
        indices, real = sample_balanced(
            key,
            valid & (matched >= 0),
            valid & (matched == matching.BACKGROUND),
            size=size,
            share=share,
        )
        own = matched[indices]
        label = jnp.where(own >= 0, labels[jnp.maximum(own, 0)], matching.BACKGROUND)
        return Drawn(
            indices,
            jnp.where(real, label, matching.IGNORED),
            objects[jnp.maximum(own, 0)],
        )

    keys = jax.random.split(key, len(boxes))
    drawn = jax.vmap(one)(keys, boxes, valid, targets.boxes, targets.labels)
    return jax.tree.map(jax.lax.stop_gradient, drawn)
