"""The function that is exported: from images to probabilities, or to boxes."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import cnn_jax.cpu
from cnn_jax.run.facts import Facts
from cnn_jax.run.pixel_predictor import PixelPredictor
from cnn_jax.run.predictor import BoxPredictor, ClassPredictor, Predictor

NORMALISATIONS = ("inside", "beside")
Normalisation = Literal["inside", "beside"]
BATCH = "batch"  # name of the dimension of any size


class Output(NamedTuple):
    """An output of the exported function.

    Attributes:
        name: its name in the file.
        meaning: what its axes and values are.
    """

    name: str
    meaning: str


@dataclasses.dataclass(frozen=True, eq=False)
class Function:
    """What is exported.

    Attributes:
        compute: (variables, x [B, *shape]) -> the outputs, a tuple of arrays.
        variables: the parameters and statistics, float32.
        shape: (*space, C), without the batch.
        dtype: uint8 for images, with the normalisation inside; else float32.
        outputs: the outputs, in order.
        notes: what the user should know of it.
        boxed: (height, width) of the images that boxes are in; None if there are no boxes.
    """

    compute: Callable[[Any, Any], tuple[Any, ...]]
    variables: Any
    shape: tuple[int, ...]
    dtype: Any
    outputs: tuple[Output, ...]
    notes: tuple[str, ...] = ()
    boxed: tuple[int, int] | None = None

    def call(self, x: Any) -> tuple[Any, ...]:
        """The outputs, as a file computes them: the variables are constants of the program, and
        batch norms are part of the layers before them."""
        return self._frozen(x)

    @functools.cached_property
    def _frozen(self) -> cnn_jax.cpu.Frozen:
        return cnn_jax.cpu.freeze(self.compute, self.variables, onednn=False)

    def expected(self, x: np.ndarray) -> list[np.ndarray]:
        """What the network itself gives."""
        return [np.asarray(each) for each in jax.jit(self.compute)(self.variables, x)]

    def example(self, count: int) -> np.ndarray:
        """Inputs [count, *shape] to compare two versions of the function with.

        They are random, but smooth, as images are: in white noise a network sees the same
        everywhere.
        """
        rng = np.random.default_rng(count)
        coarse = [max(math.ceil(n / 8), 1) for n in self.shape[:-1]]
        x = rng.random((count, *coarse, self.shape[-1]))
        for axis, n in enumerate(self.shape[:-1], 1):
            x = np.repeat(x, 8, axis).take(range(n), axis)
        x = 0.8 * x + 0.2 * rng.random(x.shape)
        if self.dtype == np.uint8:
            return (255 * x).astype(np.uint8)
        return (4 * x - 2).astype(np.float32)

    def spec(self, batch: Any) -> jax.ShapeDtypeStruct:
        """The input's shape and type, for a batch of a number of images or of a symbol."""
        return jax.ShapeDtypeStruct((batch, *self.shape), self.dtype)


def symbol() -> Any:
    """The batch as a dimension of any size from 1."""
    (batch,) = jax.export.symbolic_shape(BATCH)
    return batch


def check_batch(function: Function) -> None:
    """Raises ValueError if a network cannot be traced for a batch of any size."""
    try:
        jax.eval_shape(function.call, function.spec(symbol()))
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"The network cannot be exported for a batch of any size ({reason}): give one, batch=1."
        ) from error


def function_of(predictor: Predictor, *, normalisation: Normalisation) -> Function:
    """The function of a trained network in evaluation, computed in float32.

    Args:
        predictor: the network.
        normalisation: 'inside' to take images, uint8 in 0..255 (sequences: float32); 'beside' to
            take what the normalisation of its description makes of them, float32.

    Raises:
        ValueError: there is nothing to export of this kind of predictor, or the input's shape is
            not known.
    """
    facts = predictor.facts
    if normalisation not in NORMALISATIONS:
        raise ValueError(f"normalisation={normalisation!r}: wanted 'inside' or 'beside'.")
    if not facts.image_shape:
        raise ValueError("The run does not say what images it was trained on: nothing to export.")
    model, notes = _in_float32(predictor)
    variables = jax.tree.map(_plain, jax.device_get(predictor.variables))
    head, outputs = _head(predictor, model)
    images = normalisation == "inside" and len(facts.image_shape) > 2
    mean = np.asarray(facts.mean or 0, np.float32)
    std = np.asarray(facts.std or 1, np.float32)

    def compute(variables, x):
        x = jnp.asarray(x, jnp.float32)
        if images:
            x = x / 255
        if normalisation == "inside":
            x = (x - mean) / std
        return head(model.apply(variables, x, train=False))

    return Function(
        compute=compute,
        variables=variables,
        shape=facts.image_shape,
        dtype=np.dtype(np.uint8 if images else np.float32),
        outputs=outputs,
        notes=notes,
        boxed=_size(facts) if isinstance(predictor, BoxPredictor) else None,
    )


def _size(facts: Facts) -> tuple[int, int]:
    return facts.image_shape[0], facts.image_shape[1]


def _plain(leaf: Any) -> np.ndarray:
    """A parameter in float32, if it is a number of fewer bits."""
    array = np.asarray(leaf)
    return array.astype(np.float32) if jnp.issubdtype(array.dtype, jnp.floating) else array


def _in_float32(predictor: Predictor) -> tuple[Any, tuple[str, ...]]:
    """The network that computes in float32, and a note if it did not in training."""
    fields: dict[str, Any] = {}
    notes: tuple[str, ...] = ()
    dtype = getattr(predictor.model, "dtype", None)
    if dtype is not None and jnp.dtype(dtype) != jnp.float32:
        fields["dtype"] = None
        notes = (f"The run computed in {jnp.dtype(dtype).name}; the file computes in float32.",)
    if getattr(predictor.model, "remat", False):
        fields["remat"] = False
    return predictor.model.clone(**fields) if fields else predictor.model, notes


def _head(predictor: Predictor, model: Any) -> tuple[Callable[[Any], tuple], tuple[Output, ...]]:
    """What is made of the network's outputs, and what that is."""
    facts: Facts = predictor.facts
    if isinstance(predictor, BoxPredictor):
        size = _size(facts)

        def found(outputs: Any) -> tuple:
            detections = model.detect(outputs, size)
            return detections.boxes, detections.scores, detections.labels

        return found, (
            Output("boxes", "[batch, M, 4]: left, top, right, bottom in pixels of the input"),
            Output("scores", "[batch, M] in 0..1, best first; 0 where there is no object"),
            Output("labels", "[batch, M]: index into class_names; -1 where there is no object"),
        )
    if isinstance(predictor, (ClassPredictor, PixelPredictor)):
        where = "[batch, height, width, classes]" if isinstance(predictor, PixelPredictor) else (
            "[batch, classes]")  # fmt: skip
        output = Output("probabilities", f"{where}: they add up to 1 over the classes")
        return lambda logits: (jax.nn.softmax(logits.astype(jnp.float32)),), (output,)
    raise ValueError(
        f"A run of the task {facts.task!r} has no predictor: what to export of it is not known."
    )
