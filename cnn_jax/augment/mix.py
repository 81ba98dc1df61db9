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

Number = float | Array


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
    uniform = _pair_uniforms(keys, 4)
    share = _symmetric_beta(uniform[:, :3], alpha)  # [B/2]
    share = jnp.where(uniform[:, 3] < probability, share, 1.0)
    return _blend(images, _over(share, images)), _blend(targets, share[:, None])


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
    space = images.shape[1:-1]
    uniform = _pair_uniforms(keys, 4 + len(space))
    share = jnp.where(uniform[:, 3] < probability, _symmetric_beta(uniform[:, :3], alpha), 1.0)
    inside = _boxes(space, 1 - share, uniform[:, 4:])  # [B/2, *space]
    return _swap(images, inside), _blend(targets, _kept(inside)[:, None])


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
    _check("mixup_or_cutmix", keys, images, targets, min(mixup_alpha, cutmix_alpha))
    space = images.shape[1:-1]
    uniform = _pair_uniforms(keys, 5 + len(space))
    cut = uniform[:, 4] < switch_probability  # [B/2]
    share = _symmetric_beta(uniform[:, :3], jnp.where(cut, cutmix_alpha, mixup_alpha))
    share = jnp.where(uniform[:, 3] < probability, share, 1.0)
    inside = _boxes(space, 1 - share, uniform[:, 5:]) & _over(cut, images)[..., 0]
    images = jnp.where(
        jnp.repeat(_over(cut, images), 2, axis=0),
        _swap(images, inside),
        _blend(images, _over(share, images)),
    )
    return images, _blend(targets, jnp.where(cut, _kept(inside), share)[:, None])


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


def _pair_uniforms(keys: Array, count: int) -> Array:
    """Uniform numbers [B/2, count] for each pair, from its first member's key.

    The tag keeps them apart from the keys that `augment.compose` derives from the same parents.
    """

    def draw(key: Array) -> Array:
        return jax.random.uniform(jax.random.fold_in(key, 0x6D6978), (count,))  # 'mix'

    return jax.vmap(draw)(keys[0::2])


def _symmetric_beta(uniform: Array, alpha: Number) -> Array:
    """Beta(alpha, alpha) [N] from three uniform numbers [N, 3], for any positive alpha.

    Devroye 1996, "Random variate generation in one line of code", section 4. It has no rejection
    loop, unlike `jax.random.beta`, which adds two seconds to the compilation of a train step.
    """
    tail = uniform[:, 0] ** (1 / jnp.asarray(alpha, jnp.float32))
    spread = (1 - tail) * jnp.square(jnp.cos(2 * jnp.pi * uniform[:, 1]))
    distance = jnp.sqrt(spread / jnp.maximum(tail + spread, jnp.finfo(jnp.float32).tiny))  # 0..1
    return 0.5 + jnp.where(uniform[:, 2] < 0.5, -0.5, 0.5) * distance


def _boxes(space: tuple[int, ...], share: Array, uniform: Array) -> Array:
    """Whether each pixel is inside a box of this share [N] of the image: bool [N, *space].

    Its centre, from uniform numbers [N, n], may be anywhere; what sticks out is cut off.
    """
    side = share ** (1 / len(space))
    inside = jnp.ones((len(share), *space), bool)
    for axis, size in enumerate(space):
        centre = jnp.floor(uniform[:, axis] * size)
        length = jnp.floor(side * size)
        start = _over(centre - jnp.floor(length / 2), inside)
        position = jax.lax.broadcasted_iota(jnp.float32, inside.shape, axis + 1)
        inside &= (position >= start) & (position < start + _over(length, inside))
    return inside


def _kept(inside: Array) -> Array:
    """The share of pixels outside the boxes: [N]."""
    axes = tuple(range(1, inside.ndim))
    pixels = math.prod(inside.shape[1:])
    return (pixels - inside.sum(axes, dtype=jnp.int32)).astype(jnp.float32) / pixels


def _over(values: Array, like: Array) -> Array:
    """[N] as [N, 1, ..., 1], to multiply what has as many axes as `like`."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


def _swap(images: Array, inside: Array) -> Array:
    first, second = _halves(images)
    box = inside[..., None]
    return _interleave(jnp.where(box, second, first), jnp.where(box, first, second))


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
