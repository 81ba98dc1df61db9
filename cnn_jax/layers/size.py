"""The smallest image a network takes, checked before it becomes an error about shapes."""

from cnn_jax.typing import Array


def require_size(x: Array, minimum: int, model: str) -> None:
    """Raises ValueError where a spatial axis of x [B, *space, C] is shorter than `minimum`."""
    space = x.shape[1:-1]
    if min(space) < minimum:
        raise ValueError(
            f"{model} reduces an image of {'x'.join(map(str, space))} pixels to nothing: it takes "
            f"{minimum} a side or more. Resize the images, or choose a network for small ones, "
            "such as resnet8 or resnet20."
        )
