"""torchvision's names of the parts that several families share, see `cnn_jax.weights.torch`."""

from collections.abc import Sequence

Pairs = list[tuple[str, str]]


def conv_norm_act(theirs: str, ours: str) -> Pairs:
    """torchvision's Conv2dNormActivation, a sequence, and `cnn_jax.layers.ConvNormAct`."""
    return [(f"{theirs}.0", f"{ours}/conv"), (f"{theirs}.1", f"{ours}/norm")]


def squeeze_excite(theirs: str, ours: str) -> Pairs:
    """torchvision's SqueezeExcitation and `cnn_jax.layers.SqueezeExcite`."""
    return [(f"{theirs}.fc{{k}}", f"{ours}/fc{{k}}")]


def sequence(theirs: str, ours: str, layers: Sequence[str]) -> Pairs:
    """A block that is a sequence of such parts in torchvision, counted from 0.

    Args:
        theirs, ours: the paths of the block.
        layers: our names of its parts, in order; 'se' is the squeeze-and-excitation.
    """
    pairs: Pairs = []
    for i, layer in enumerate(layers):
        part = squeeze_excite if layer == "se" else conv_norm_act
        pairs += part(f"{theirs}.{i}", f"{ours}/{layer}")
    return pairs
