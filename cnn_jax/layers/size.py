"""Checks of a network's input, before a wrong one becomes an obscure error about shapes."""

from cnn_jax.typing import Array


def require_size(x: Array, minimum: int, model: str) -> None:
    """Raises ValueError if a spatial axis of x [B, *space, C] is shorter than `minimum`."""
    space = x.shape[1:-1]
    if min(space) < minimum:
        raise ValueError(
            f"{model} reduces an image of {'x'.join(map(str, space))} pixels to nothing; it takes "
            f"sides of {minimum} pixels or more. Resize the images, or choose a network for small "
            "ones, such as resnet8 or resnet20."
        )


def require_sequence(x: Array, model: str) -> None:
    """Raises ValueError unless x is a batch of sequences [B, L, C]."""
    if x.ndim != 3:
        raise ValueError(
            f"{model} takes sequences [B, length, channels]; got the shape {list(x.shape)}. "
            "Reshape images to sequences of pixels, or choose a network for images."
        )
