"""A gated recurrent network (Cho et al. 2014, arXiv:1406.1078): not a convolution.

It reads a sequence step by step and carries a state; a convolution sees many steps at once. Its
steps cannot be computed in parallel.
"""

from typing import Any

import flax.linen as nn
import jax

from cnn_jax.layers import require_sequence
from cnn_jax.models.registry import register, row
from cnn_jax.typing import Array

TABLE = {
    # MNIST-1D's baseline (Greydanus 2020, arXiv:2011.14439): 6 units in both directions, all
    # steps to the last layer. It has 5,134 parameters: PyTorch's cell has two biases for one.
    "gru": row(5_110),
    "gru_64": row(26_762, hidden=64, flatten=False),
}


class GRU(nn.Module):
    """One layer of gated recurrent units, and a dense layer.

    Stages: 'states' [B, L, hidden or 2 * hidden].

    Attributes:
        num_classes: number of classes; None to return the stages instead of logits.
        hidden: units in each direction.
        bidirectional: whether a second layer reads from the end to the beginning.
        flatten: whether the head gets the states of all steps, for sequences of one length;
            otherwise it gets their mean.
        drop_rate: dropout rate before the last layer.
        axis_name, remat: accepted as in every model, without effect.
    """

    num_classes: int | None
    hidden: int = 6
    bidirectional: bool = True
    flatten: bool = True
    drop_rate: float = 0.0
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array | dict[str, Array]:
        require_sequence(x, "gru")
        read: nn.Module = self._reader("forward")
        if self.bidirectional:
            read = nn.Bidirectional(read, self._reader("backward"), name="both")
        x = read(x)  # [B, L, hidden or 2 * hidden]
        if self.num_classes is None:
            return {"states": x}
        x = x.reshape(x.shape[0], -1) if self.flatten else x.mean(1)
        x = nn.Dropout(self.drop_rate, deterministic=not train, name="drop")(x)
        return nn.Dense(self.num_classes, dtype=self.dtype, name="head")(x)  # [B, K]

    def _reader(self, direction: str) -> nn.RNN:
        # PyTorch's initial values, as in the published figures: all of one range
        bound = self.hidden**-0.5
        init = lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound)  # noqa: E731
        cell = nn.GRUCell(
            self.hidden,
            kernel_init=init,
            recurrent_kernel_init=init,
            bias_init=init,
            dtype=self.dtype,
            name=f"{direction}_cell",
        )
        return nn.RNN(cell, name=direction)


register(
    GRU,
    TABLE,
    paper="Cho et al. 2014, Learning Phrase Representations using RNN Encoder-Decoder, "
    "arXiv:1406.1078",
    source="Greydanus 2020, arXiv:2011.14439, without the redundant biases",
    input_shape=(40, 1),
    num_classes=10,
)
