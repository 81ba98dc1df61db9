"""Networks for inference: on a CPU, with what is known of them computed beforehand."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax

import cnn_jax.cpu
from cnn_jax.cpu import registry


def compiled(function: Callable, variables: Any) -> Callable:
    """The compiled function of the inputs alone, with these variables for good.

    On a CPU it is frozen (`cnn_jax.cpu.freeze`): batch norms become part of the layers before them,
    and the numbers differ from those of the plain function by up to 1e-5 of the largest. oneDNN is
    called if `cnn_jax.cpu.enable` is in force when it is compiled. Elsewhere it is the plain one.
    """
    if jax.default_backend() != "cpu":
        return jax.jit(partial(function, variables))
    return cnn_jax.cpu.freeze(function, variables, onednn=registry.installed())


class FrozenNetwork:
    """A network whose `apply` takes no notice of the variables: it has those that it was made of.

    For evaluation. Where the program is for several devices its layers are folded, and call no
    oneDNN.
    """

    def __init__(self, model: Any, variables: Any):
        self._model = model
        self._run = compiled(lambda v, x: model.apply(v, x, train=False), variables)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def apply(self, variables: Any, x: jax.Array, *, train: bool) -> Any:
        """x [B, *space, C] -> the network's outputs.

        Raises:
            ValueError: it is asked to train.
        """
        del variables
        if train:
            raise ValueError("A frozen network cannot be trained: it has one set of variables.")
        return self._run(x)
