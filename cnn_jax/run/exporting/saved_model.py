"""TensorFlow's SavedModel, by `jax.experimental.jax2tf`, where TensorFlow is installed."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from cnn_jax.run.exporting.function import BATCH, Function


def tensorflow() -> Any:
    """
    Raises:
        ValueError: it is not installed.
    """
    try:
        import tensorflow  # type: ignore[import-untyped]
    except ImportError as error:
        raise ValueError(
            f"format='savedmodel' needs TensorFlow ({error}): pip install tensorflow-cpu"
        ) from None
    return tensorflow


def write(function: Function, path: Path, *, batch: int) -> None:
    """Writes a directory that `tf.saved_model.load` reads; its one signature takes `x`."""
    tf = tensorflow()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from jax.experimental import jax2tf

        shapes = None if batch else [f"({BATCH}, {', '.join(map(str, function.shape))})"]
        converted = jax2tf.convert(function.call, polymorphic_shapes=shapes, with_gradient=False)

    names = [output.name for output in function.outputs]

    def named(x: Any) -> dict[str, Any]:
        return dict(zip(names, converted(x), strict=True))

    module = tf.Module()
    spec = tf.TensorSpec([batch or None, *function.shape], function.dtype.name, name="x")
    module.f = tf.function(named, autograph=False, input_signature=[spec])
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.f})


def outputs(
    path: Path, function: Function, examples: dict[str, np.ndarray]
) -> dict[str, list[np.ndarray]]:
    """What the directory computes when TensorFlow loads it."""
    tf = tensorflow()
    run = tf.saved_model.load(str(path)).signatures["serving_default"]
    found = {}
    for name, x in examples.items():
        made = run(x=tf.constant(x))
        found[name] = [made[output.name].numpy() for output in function.outputs]
    return found
