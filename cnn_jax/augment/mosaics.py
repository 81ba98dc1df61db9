"""Mosaic: four images and their boxes as one. Of a batch, keyed by example."""

import jax
import jax.numpy as jnp

from cnn_jax import boxes as box_ops
from cnn_jax.typing import Array, Batch


def mosaic(keys: Array, batch: Batch, *, probability: float) -> dict[str, Array]:
    """Puts four images at half their size into one, each into a quarter of its own.

    Bochkovskiy et al. 2020, arXiv:2004.10934, section 3.3, with the cross in the middle. The four
    are neighbours (i XOR 1, i XOR 2, i XOR 3), so that no image leaves its device. Boxes: of the
    4 N, the N largest.

    Args:
        keys: [B]; B must be a multiple of four.
        batch: 'image' [B, H, W, C] floats with even sides, 'boxes' [B, N, 4], 'labels' [B, N].
        probability: that a group of four becomes mosaics.

    Raises:
        ValueError: B is no multiple of four, or a side is odd.
    """
    import chex  # see `cnn_jax.shapes`

    image, boxes, labels = batch["image"], batch["boxes"], batch["labels"]
    size, height, width, channels = image.shape
    chex.assert_shape(boxes, (size, None, 4))
    chex.assert_shape(labels, boxes.shape[:2])
    if size % 4 or height % 2 or width % 2:
        raise ValueError(
            f"mosaic got {size} images of {height}x{width}; it wants a multiple of four (on each "
            "device, under pmap) with even sides."
        )
    half = image.reshape(size, height // 2, 2, width // 2, 2, channels).mean((2, 4))
    half = half.reshape(size // 4, 4, height // 2, width // 2, channels)
    turned = jnp.stack([half[:, jnp.arange(4) ^ i] for i in range(4)], 2)  # [B/4, 4, quarter, ...]
    rows = [jnp.concatenate([turned[:, :, q], turned[:, :, q + 1]], axis=3) for q in (0, 2)]
    mixed = jnp.concatenate(rows, axis=2).reshape(image.shape)
    corner = jnp.array([[0, 0], [width // 2, 0], [0, height // 2], [width // 2, height // 2]])
    grouped = boxes.reshape(size // 4, 4, -1, 4) / 2
    moved = jnp.stack(
        [grouped[:, jnp.arange(4) ^ i] + jnp.tile(corner[i], 2) for i in range(4)], 2
    ).reshape(size, -1, 4)  # [B, 4N, 4]
    named = labels.reshape(size // 4, 4, -1)
    named = jnp.stack([named[:, jnp.arange(4) ^ i] for i in range(4)], 2).reshape(size, -1)
    areas = jnp.where(named >= 0, box_ops.area(moved), -1.0)
    _, order = jax.lax.top_k(areas, boxes.shape[1])
    moved = jnp.take_along_axis(moved, order[..., None], axis=1)
    named = jnp.take_along_axis(named, order, axis=1)
    draws = jax.vmap(jax.random.uniform)(keys[::4])
    chosen = jnp.repeat(draws < probability, 4)
    pick = lambda new, old: jnp.where(  # noqa: E731
        chosen.reshape(-1, *(1,) * (old.ndim - 1)), new, old
    )
    return {
        **batch,
        "image": pick(mixed, image),
        "boxes": pick(moved, boxes),
        "labels": pick(named, labels),
    }
