"""The baselines of MNIST-1D (Greydanus 2020, arXiv:2011.14439): linear, MLP and CNN.

The recurrent baseline is `gru`. The four measure the worth of convolution: with the positions in
order the CNN is far ahead, with the positions shuffled the MLP.
"""

from typing import Any

import flax.linen as nn

from cnn_jax.layers import conv, lecun_uniform
from cnn_jax.models.registry import register, row
from cnn_jax.typing import Array

# Parameters as in the authors' repository, models.py; PyTorch's initial values.
PAPER = "Greydanus 2020, Scaling down Deep Learning, arXiv:2011.14439"
SOURCE = "counted from the layers of the authors' models.py"
KERNELS = (5, 3, 3)


class Linear(nn.Module):
    """One dense layer. The fields other than num_classes and dtype are without effect."""

    num_classes: int | None
    drop_rate: float = 0.0
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array | dict[str, Array]:
        x = x.reshape(x.shape[0], -1)  # [B, L * C]
        if self.num_classes is None:
            return {"input": x}
        return _dense(self.num_classes, self.dtype, "head")(x)  # [B, K]


class ResidualMLP(nn.Module):
    """Two hidden layers, the second with a shortcut.

    Stages: 'hidden1' and 'hidden2' [B, hidden].

    Attributes:
        hidden: units of each hidden layer.
        drop_rate: dropout rate before the last layer.
        axis_name, remat: accepted as in every model, without effect.
    """

    num_classes: int | None
    hidden: int = 100
    drop_rate: float = 0.0
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array | dict[str, Array]:
        x = x.reshape(x.shape[0], -1)  # [B, L * C]
        hidden1 = nn.relu(_dense(self.hidden, self.dtype, "fc1")(x))
        hidden2 = hidden1 + nn.relu(_dense(self.hidden, self.dtype, "fc2")(hidden1))
        if self.num_classes is None:
            return {"hidden1": hidden1, "hidden2": hidden2}
        x = nn.Dropout(self.drop_rate, deterministic=not train, name="drop")(hidden2)
        return _dense(self.num_classes, self.dtype, "head")(x)  # [B, K]


class StridedCNN(nn.Module):
    """Three convolutions of stride 2, then a dense layer on all positions.

    Stages: 'conv1' [B, 19, C], 'conv2' [B, 10, C], 'conv3' [B, 5, C] for 40 steps.

    Attributes:
        channels: channels of each convolution.
        drop_rate: dropout rate before the last layer.
        axis_name, remat: accepted as in every model, without effect.
    """

    num_classes: int | None
    channels: int = 25
    drop_rate: float = 0.0
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array | dict[str, Array]:
        stages = {}
        for i, kernel in enumerate(KERNELS, start=1):
            x = conv(
                x,
                self.channels,
                kernel,
                stride=2,
                padding=1,
                use_bias=True,
                kernel_init=lecun_uniform,
                dtype=self.dtype,
                name=f"conv{i}",
            )
            x = stages[f"conv{i}"] = nn.relu(x)
        if self.num_classes is None:
            return stages
        x = x.reshape(x.shape[0], -1)  # [B, 5 * channels]
        x = nn.Dropout(self.drop_rate, deterministic=not train, name="drop")(x)
        return _dense(self.num_classes, self.dtype, "head")(x)  # [B, K]


def _dense(features: int, dtype: Any, name: str) -> nn.Dense:
    return nn.Dense(features, kernel_init=lecun_uniform, dtype=dtype, name=name)


for module, table in (
    (Linear, {"mnist1d_linear": row(410)}),
    (ResidualMLP, {"mnist1d_mlp": row(15_210)}),
    (StridedCNN, {"mnist1d_cnn": row(5_210)}),
):
    register(module, table, paper=PAPER, source=SOURCE, input_shape=(40, 1), num_classes=10)
