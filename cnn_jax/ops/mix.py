"""Augmentations that mix two examples and their targets: mixup and cutmix.

Example i is mixed with its neighbour i XOR 1: 0 with 1, 2 with 3, and so on. A batch is shuffled
already, so neighbours are strangers, and nothing is lost against a random permutation; what is won
is that a pair never leaves its device (no communication) and is the same pair however the batch is
laid out, as long as every device holds an even number of examples. A pair's randomness comes from
the key of its first member, so it does not depend on the size of the batch either.

Both members of a pair are kept: one becomes lam * a + (1 - lam) * b, the other lam * b +
(1 - lam) * a. The mean of images and of targets over the batch is thereby unchanged.
"""

import math

import jax
import jax.numpy as jnp

from cnn_jax.typing import Array


def mixup(
    keys: Array, images: Array, targets: Array, *, alpha: float, probability: float = 1.0
) -> tuple[Array, Array]:
    """Mixes each pair of neighbours in the proportion lam ~ Beta(alpha, alpha).

    Zhang 2018, arXiv 1710.09412 (alpha 0.1 to 0.4 on ImageNet, 1 on CIFAR).

    Args:
        keys: [B], one per example.
        images: [B, *space, C], floats; any number of axes.
        targets: [B, K], probabilities (one-hot or smoothed labels).
        alpha: positive. Large: even mixtures; small: one of the two dominates.
        probability: that a pair is mixed at all.

    Returns:
        Mixed images and targets, of the shapes and dtypes that came.

    Raises:
        ValueError: if B is odd, alpha is not positive, or the leading axes differ.
    """
    _check("mixup", keys, images, targets, alpha)
    keep, draw = _pair_keys(keys)
    proportion = jax.vmap(lambda key: _proportion(key, alpha))(draw)  # [B/2]
    proportion = jnp.where(_bernoulli(keep, probability), proportion, 1.0)
    weight = proportion.reshape([-1, *[1] * (images.ndim - 1)])  # [B/2, 1, ..., 1]
    return _blend(images, weight), _blend(targets, proportion[:, None])


def cutmix(
    keys: Array, images: Array, targets: Array, *, alpha: float, probability: float = 1.0
) -> tuple[Array, Array]:
    """Swaps a box between the neighbours of each pair; targets mix by the area swapped.

    Yun 2019, arXiv 1905.04899 (alpha 1). The box has the aspect ratio of the image and a share
    1 - lam of its area, lam ~ Beta(alpha, alpha); its centre is uniform, it is cut off at the
    border, and lam is then replaced by the exact share of pixels kept.

    Args, returns and raises as `mixup`; in N dimensions the box is N-dimensional.
    """
    _check("cutmix", keys, images, targets, alpha)
    keep, draw = _pair_keys(keys)
    inside = jax.vmap(lambda key: _box(key, images.shape[1:-1], alpha))(draw)  # [B/2, *space]
    inside = inside & _bernoulli(keep, probability).reshape([-1, *[1] * (inside.ndim - 1)])
    pixels = math.prod(images.shape[1:-1])
    swapped = inside.sum(range(1, inside.ndim), dtype=jnp.int32).astype(jnp.float32)
    first, second = _halves(images)
    box = inside[..., None]
    mixed = _interleave(jnp.where(box, second, first), jnp.where(box, first, second))
    return mixed, _blend(targets, (1 - swapped / pixels)[:, None])


def mixup_or_cutmix(
    keys: Array,
    images: Array,
    targets: Array,
    *,
    mixup_alpha: float,
    cutmix_alpha: float,
    probability: float = 1.0,
    switch_probability: float = 0.5,
) -> tuple[Array, Array]:
    """Gives each pair cutmix with the switch probability, else mixup.

    An alpha of 0 turns that one off. The usual modern recipe is 0.8 and 1.0 (DeiT, Touvron 2021,
    arXiv 2012.12877, table 9), which switches per batch; here every pair draws its own.

    Args and returns as `mixup`.
    """
    if mixup_alpha == 0 and cutmix_alpha == 0:
        return images, targets
    if cutmix_alpha == 0:
        return mixup(keys, images, targets, alpha=mixup_alpha, probability=probability)
    if mixup_alpha == 0:
        return cutmix(keys, images, targets, alpha=cutmix_alpha, probability=probability)
    by_mixup = mixup(keys, images, targets, alpha=mixup_alpha, probability=probability)
    by_cutmix = cutmix(keys, images, targets, alpha=cutmix_alpha, probability=probability)
    switch, _ = _pair_keys(keys, salt=1)
    use_cutmix = jnp.repeat(_bernoulli(switch, switch_probability), 2)  # [B]

    def choose(mixed: Array, cut: Array) -> Array:
        return jnp.where(use_cutmix.reshape([-1, *[1] * (cut.ndim - 1)]), cut, mixed)

    return choose(by_mixup[0], by_cutmix[0]), choose(by_mixup[1], by_cutmix[1])


def _check(name: str, keys: Array, images: Array, targets: Array, alpha: float) -> None:
    if alpha <= 0:
        raise ValueError(f"{name}: alpha must be positive, got {alpha}; leave {name} out instead")
    if not len(keys) == len(images) == len(targets):
        raise ValueError(
            f"{name}: {len(keys)} keys, {len(images)} images and {len(targets)} targets; "
            "there must be one of each per example"
        )
    if targets.ndim != 2 or not jnp.issubdtype(targets.dtype, jnp.floating):
        raise ValueError(
            f"{name}: targets must be probabilities [B, K], got {targets.dtype}{targets.shape}; "
            "apply jax.nn.one_hot to the labels"
        )
    if len(images) % 2:
        raise ValueError(
            f"{name}: {len(images)} examples do not form pairs; "
            "the batch of each device, and of each accumulation step, must be even"
        )


def _pair_keys(keys: Array, salt: int = 0) -> tuple[Array, Array]:
    """Two keys [B/2] for each pair, from its first member's.

    The tag keeps them apart from the keys that `augment.compose` derives from the same parents.
    """
    tagged = jax.vmap(lambda key: jax.random.fold_in(key, 0x6D6978 + salt))(keys[0::2])  # 'mix'
    pairs = jax.vmap(jax.random.split)(tagged)  # [B/2, 2]
    return pairs[:, 0], pairs[:, 1]


def _bernoulli(keys: Array, probability: float) -> Array:
    return jax.vmap(lambda key: jax.random.bernoulli(key, probability))(keys)


def _proportion(key: Array, alpha: float) -> Array:
    return jax.random.beta(key, alpha, alpha)


def _box(key: Array, space: tuple[int, ...], alpha: float) -> Array:
    """Whether each pixel is inside a random box: bool [*space]."""
    draw, place = jax.random.split(key)
    side = (1 - _proportion(draw, alpha)) ** (1 / len(space))  # the share of each side
    inside = jnp.ones(space, bool)
    for axis, size in enumerate(space):
        centre = jax.random.randint(jax.random.fold_in(place, axis), (), 0, size)
        length = jnp.floor(side * size).astype(jnp.int32)
        start = centre - length // 2
        position = jax.lax.broadcasted_iota(jnp.int32, space, axis)
        inside &= (position >= start) & (position < start + length)
    return inside


def _halves(values: Array) -> tuple[Array, Array]:
    """The first and the second member of every pair: two of [B/2, ...]."""
    pairs = values.reshape(-1, 2, *values.shape[1:])
    return pairs[:, 0], pairs[:, 1]


def _interleave(first: Array, second: Array) -> Array:
    return jnp.stack([first, second], axis=1).reshape(-1, *first.shape[1:])


def _blend(values: Array, weight: Array) -> Array:
    """weight * own + (1 - weight) * the neighbour's, computed in float32 at least."""
    first, second = _halves(values)
    wide = jnp.promote_types(values.dtype, jnp.float32)
    first, second, weight = first.astype(wide), second.astype(wide), weight.astype(wide)
    return _interleave(
        (weight * first + (1 - weight) * second).astype(values.dtype),
        (weight * second + (1 - weight) * first).astype(values.dtype),
    )
