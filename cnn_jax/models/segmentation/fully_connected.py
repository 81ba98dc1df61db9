"""The baseline without convolutions: every output pixel depends on every input pixel."""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn

from cnn_jax.models.registry import register, row
from cnn_jax.typing import Array

TABLE = {
    # 64 * 64 * 3 * 256 + 256 * 64 * 64 * 11, with biases, for images of 64x64 and 11 classes.
    "pixel_mlp": row(14_725_376),
}


class PixelMLP(nn.Module):
    """Flatten, dense layers with ReLU, and a dense layer to the classes of all pixels at once.

    It has to learn the same digit anew in each place.

    Stages: 'hidden1' [B, hidden[0]], 'hidden2', ...

    Attributes:
        num_classes: number of classes K; None to return the stages.
        hidden: widths of the hidden layers.
        drop_rate: dropout rate after each hidden layer.
        axis_name, remat: accepted as in every model, without effect.
    """

    num_classes: int | None
    hidden: Sequence[int] = (256,)
    drop_rate: float = 0.0
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array | dict[str, Array]:
        batch, *space, _ = x.shape
        stages = {}
        x = x.reshape(batch, -1)  # [B, H * W * C]
        for i, width in enumerate(self.hidden, start=1):
            x = nn.relu(nn.Dense(width, dtype=self.dtype, name=f"fc{i}")(x))
            x = nn.Dropout(self.drop_rate, deterministic=not train, name=f"drop{i}")(x)
            stages[f"hidden{i}"] = x
        if self.num_classes is None:
            return stages
        x = nn.Dense(math.prod(space) * self.num_classes, dtype=self.dtype, name="head")(x)
        return x.reshape(batch, *space, self.num_classes)


register(
    PixelMLP,
    TABLE,
    paper="the fully connected baseline of cnn_jax",
    source="counted from the sizes of its layers",
    input_shape=(64, 64, 3),
    num_classes=11,
    task="segmentation",
)
