"""Losses by name, and sums of them: 'cross_entropy+dice', {'cross_entropy': 1, 'dice': 0.5}.

A loss of your own is a function that anything here can then be trained with:

    def poly1(logits, target, weight):  # Leng et al. 2022, arXiv:2204.12511, equation 6
        right = (target * jax.nn.softmax(logits)).sum(-1)
        return losses.weighted_mean(optax.softmax_cross_entropy(logits, target) + 1 - right, weight)

    losses.LOSSES.register("poly1", poly1)
"""

import math
from collections.abc import Callable, Mapping
from typing import Protocol

import jax
import jax.numpy as jnp
import optax

from cnn_jax.losses.boxes import sigmoid_focal
from cnn_jax.losses.pixels import cross_entropy_of_labels, overlap_loss
from cnn_jax.losses.weighted import at_least_float32, weighted_mean
from cnn_jax.registry import Registry
from cnn_jax.typing import Array, Mean

ALLOWED_WEIGHTS = "a weight is a number above 0: 'cross_entropy:1,dice:0.5'"


class Loss(Protocol):
    """A loss of scores for K classes: of an example (no axis of space), or of every pixel.

    Arguments are given by position. A function with the attribute `takes_labels = True` gets
    labels, int [B, *space], in place of the target where they are hard, which saves memory.
    """

    def __call__(self, logits: Array, target: Array, weight: Array, /) -> Mean:
        """The loss, see `weighted_mean`.

        Args:
            logits: [B, *space, K], the raw scores of the network, in at least float32.
            target: [B, *space, K], the probability of each class: 1 for the label and 0 for the
                others, or something between after label smoothing, mixup or CutMix.
            weight: [B, *space]: how much each counts; 0 for padding and for pixels to ignore,
                where the target may be anything.
        """
        ...


def cross_entropy(logits: Array, target: Array, weight: Array) -> Mean:
    """Cross-entropy of softmax(logits) in nats."""
    if jnp.issubdtype(target.dtype, jnp.integer):
        return cross_entropy_of_labels(logits, target, weight)
    return weighted_mean(optax.softmax_cross_entropy(logits, target), weight)


cross_entropy.takes_labels = True  # type: ignore[attr-defined]


def binary_cross_entropy(logits: Array, target: Array, weight: Array) -> Mean:
    """Binary cross-entropy of each class with all others, summed over the classes.

    As Beyer et al. 2020, arXiv:2006.07159, section 5, and Wightman et al. 2021, arXiv:2110.00476,
    section 3.2, train on ImageNet. The gradient of a logit is p - t, as with the softmax.
    """
    return weighted_mean(optax.sigmoid_binary_cross_entropy(logits, target).sum(-1), weight)


def focal(logits: Array, target: Array, weight: Array) -> Mean:
    """Focal loss of each class with all others, summed over the classes; alpha 1/4, gamma 2.

    Lin et al. 2017, arXiv:1708.02002, section 4.1.
    """
    return weighted_mean(sigmoid_focal(logits, target).sum(-1), weight)


def dice(logits: Array, target: Array, weight: Array) -> Mean:
    """One minus the soft Dice coefficient, see `cnn_jax.losses.pixels.overlap_loss`."""
    return overlap_loss(logits, target, weight)


def jaccard(logits: Array, target: Array, weight: Array) -> Mean:
    """One minus the soft Jaccard coefficient, see `cnn_jax.losses.pixels.overlap_loss`."""
    return overlap_loss(logits, target, weight, jaccard=True)


LOSSES: Registry[Loss] = Registry("loss", "losses", wanted="a function", check=callable)
LOSSES.register("cross_entropy", cross_entropy)
LOSSES.register("dice", dice)
LOSSES.register("jaccard", jaccard)
LOSSES.register("binary_cross_entropy", binary_cross_entropy)
LOSSES.register("focal", focal)


def parse(losses: str | Mapping[str, float]) -> dict[str, float]:
    """The weight of each loss: 'cross_entropy:1,dice:0.5' -> {'cross_entropy': 1.0, 'dice': 0.5}.

    Args:
        losses: names of LOSSES, each with its weight (1 unless given), separated by ',' or '+'; or
            the weights by name.

    Raises:
        ValueError: an unknown loss, one given twice, none at all, or a weight that is not a number
            above 0.
    """
    weights = _weights(losses)
    for name in weights:
        LOSSES[name]  # raises ValueError with the nearest names
    return weights


def _weights(losses: str | Mapping[str, float]) -> dict[str, float]:
    pairs: list[tuple[str, object]] = []
    if isinstance(losses, Mapping):
        pairs.extend(losses.items())
    elif losses.strip():
        for part in losses.replace("+", ",").split(","):
            own, colon, weight = (each.strip() for each in part.partition(":"))
            pairs.append((own, weight if colon else 1.0))
    if not pairs:
        raise ValueError(f"No loss is given; choose from {', '.join(LOSSES)}.")
    weights: dict[str, float] = {}
    for name, given in pairs:
        if name in weights:
            raise ValueError(f"The loss {name!r} is given twice in {losses!r}; give it once.")
        weights[name] = _weight(name, given)
    return weights


def _weight(name: str, weight: object) -> float:
    try:
        value = float(weight)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        value = math.nan
    if isinstance(weight, bool) or not (value > 0 and math.isfinite(value)):
        raise ValueError(f"The loss {name!r} has the weight {weight!r}; {ALLOWED_WEIGHTS}.")
    return value


def to_text(losses: str | Mapping[str, float]) -> str:
    """The shortest text that `parse` reads as the same: 'cross_entropy+dice', 'dice:0.5'.

    A name need not be known: that of a plug-in is not, until it is loaded.

    >>> from cnn_jax import losses
    >>> losses.to_text({"cross_entropy": 1.0, "dice": 0.5})
    'cross_entropy:1,dice:0.5'

    Raises:
        ValueError: see `parse`.
    """
    weights = _weights(losses)
    if set(weights.values()) == {1.0}:
        return "+".join(weights)
    return ",".join(f"{name}:{weight:.12g}" for name, weight in weights.items())


def dense(labels: Array, logits: Array) -> Array:
    """Labels [B, *space] as the target [B, *space, K] of logits [B, *space, K]: one-hot."""
    return jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)


def check(name: str, *, space: tuple[int, ...], num_classes: int) -> None:
    """Tries a loss on shapes alone.

    Args:
        name: of LOSSES.
        space: axes between the examples and the classes; () for a class of a whole image.
        num_classes: K.

    Raises:
        ValueError: it cannot be used for such logits, or returns something else than a Mean.
    """
    logits = jax.ShapeDtypeStruct((2, *space, num_classes), jnp.float32)
    weight = jax.ShapeDtypeStruct((2, *space), jnp.float32)
    of = f"The loss {name!r} ({LOSSES.origin(name)})"
    try:
        result = jax.eval_shape(LOSSES[name], logits, logits, weight)
    except Exception as error:
        said = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise ValueError(
            f"{of} fails for logits {list(logits.shape)}: {said.strip().partition(chr(10))[0]}"
        ) from error
    if not isinstance(result, Mean) or any(jnp.shape(part) for part in result):
        raise ValueError(
            f"{of} returned {_shown(result)}; it must return Mean(total, weight), two scalars: end "
            "it with losses.weighted_mean(values, weight)."
        )


def _shown(result: object) -> str:
    shapes = [f"an array {list(leaf.shape)}" for leaf in jax.tree.leaves(result)]
    return " and ".join(shapes) or repr(result)


def apply(name: str, logits: Array, labels: Array, weight: Array) -> Mean:
    """The loss `name` of logits [B, *space, K] for hard labels [B, *space] with their weights."""
    loss: Callable[..., Mean] = LOSSES[name]
    logits = at_least_float32(logits)
    hard = getattr(loss, "takes_labels", False)
    return loss(logits, labels if hard else dense(labels, logits), weight)
