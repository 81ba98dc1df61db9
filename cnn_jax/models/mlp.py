"""A fully connected network: the baseline that convolution has to beat."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn

from cnn_jax.models.registry import register, row
from cnn_jax.typing import Array

TABLE = {
    # LeCun et al. 1998, section III.C.4: "28x28-300-100-10", and its relatives there.
    "mlp": row(266_610, hidden=(300, 100)),
    "mlp_300": row(238_510, hidden=(300,)),
    "mlp_1000": row(795_010, hidden=(1000,)),
    "mlp_500_150": row(469_160, hidden=(500, 150)),
}


class MLP(nn.Module):
    """Flatten, then dense layers with ReLU.

    Stages: 'hidden1' [B, hidden[0]], 'hidden2', ...

    Attributes:
        num_classes: number of classes; None to return the stages instead of logits.
        hidden: widths of the hidden layers.
        drop_rate: dropout rate after each hidden layer (0.5 in arXiv:1207.0580).
        axis_name, remat: accepted as in every model, without effect: there is no BatchNorm, and
            nothing is worth recomputing.
    """

    num_classes: int | None
    hidden: Sequence[int] = (300, 100)
    drop_rate: float = 0.0
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array | dict[str, Array]:
        stages = {}
        x = x.reshape(x.shape[0], -1)  # [B, H * W * C]
        for i, width in enumerate(self.hidden, start=1):
            x = nn.relu(nn.Dense(width, dtype=self.dtype, name=f"fc{i}")(x))
            x = nn.Dropout(self.drop_rate, deterministic=not train, name=f"drop{i}")(x)
            stages[f"hidden{i}"] = x
        if self.num_classes is None:
            return stages
        return nn.Dense(self.num_classes, dtype=self.dtype, name="head")(x)  # [B, K]


register(
    MLP,
    TABLE,
    paper="LeCun et al. 1998, Gradient-Based Learning Applied to Document Recognition, "
    "doi:10.1109/5.726791",
    source="the sizes in section III.C.4 of the paper, with biases",
    input_shape=(28, 28, 1),
    num_classes=10,
)
