"""Trained networks that predict: what is in an image, and where."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from cnn_jax.data.loaders.image import LoadImage
from cnn_jax.run import detect, inference, inputs
from cnn_jax.run.answers import Classified, Labelled
from cnn_jax.run.facts import Facts
from cnn_jax.run.recipe import TrainingRecipe
from cnn_jax.typing import PyTree
from cnn_jax.weights import Preprocessing


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Predictor:
    """A trained network, as `cnn_jax.run.open` gives it.

    Attributes:
        model: the network.
        variables: its parameters and statistics: `model.apply(variables, x, train=False)`.
        facts: facts about the data and the network.
        recipe: the recipe of the run; None for published weights.
        place: the run directory.
        step: training steps of the checkpoint.
        averaged: whether the parameters are the moving average of the training.
    """

    model: nn.Module
    variables: PyTree
    facts: Facts
    recipe: TrainingRecipe | None = None
    place: str = ""
    step: int = 0
    averaged: bool = False

    def __repr__(self) -> str:
        what = " on ".join(filter(None, (self.facts.model, self.facts.dataset)))
        kept = f", step {self.step} of {self.place}" if self.place else ""
        return f"<{type(self).__name__}: {what}{kept}{', averaged' if self.averaged else ''}>"

    def predict(self, images: Any, **options: Any) -> Any:
        """The prediction for an image, or a list of predictions for several.

        The network is shown what an evaluation shows it of such an image.

        Args:
            images: the path of an image file, such a file opened for reading or its bytes, an image
                of Pillow, or pixels, uint8 [H, W, 1], [H, W, 3] or [H, W] in 0..255, of any size;
                or a sequence of these, or an array [N, H, W, C]. A classifier of sequences or
                volumes takes arrays of the shape that it was trained on.
            options: see `predict_one`.

        Raises:
            ValueError: it cannot be read, or is not what the network was trained on.
        """
        if not inputs.is_several(images, self._rank()):
            return self.predict_one(images, **options)
        made = []
        for index, image in enumerate(images):
            try:
                made.append(self.predict_one(image, **options))
            except ValueError as error:
                raise ValueError(f"images[{index}]: {error}") from error
        return made

    def predict_one(self, image: Any) -> Any:
        """The prediction for one image."""
        raise ValueError(
            f"A run of the task {self.facts.task!r} has no predictor of its own: apply its `model` "
            "to its `variables`."
        )

    def check(self, **options: Any) -> None:
        """Raises ValueError for an option that is out of range; see `predict_one`."""

    def most(self, batch_size: int, **options: Any) -> int:
        """The number of images that `start` makes use of at a time, up to this many."""
        return 1

    def load(self, image: Any, **options: Any) -> Any:
        """What `start` takes of an image, prepared without the device; for threads.

        Raises:
            ValueError: it cannot be read, or is not what the network was trained on.
        """
        return image

    def start(self, loaded: Sequence[Any], size: int, **options: Any) -> Callable[[], list[Any]]:
        """Starts the prediction of prepared images. The function that it returns waits for it.

        Args:
            loaded: what `load` gave, `size` of them at most.
            size: images that the device is given, so that it is compiled once.
            options: see `predict_one`.
        """
        return lambda: [self.predict_one(image, **options) for image in loaded]

    def _rank(self) -> int:
        return len(self.facts.image_shape) or 3

    def normalised(self, image: Any) -> np.ndarray:
        """An image with the network's channels, normalised as in training: float32 [H, W, C]."""
        return self._normalise_pixels(self._pixels(image))

    def _pixels(self, image: Any) -> np.ndarray:
        return inputs.pixels_of(image, self.facts.image_shape[-1], self.facts.pixels)

    def _normalise_pixels(self, pixels: np.ndarray) -> np.ndarray:
        return self._normalise(pixels.astype(np.float32) / 255)

    def _normalise(self, values: np.ndarray) -> np.ndarray:
        mean, std = (np.asarray(each, np.float32) for each in (self.facts.mean, self.facts.std))
        return (values - mean) / std

    @functools.cached_property
    def apply(self) -> Callable[[Any], Any]:
        """The compiled network: x float32 [B, *space, C] -> its outputs; see `inference`."""
        return inference.compiled(lambda v, x: self.model.apply(v, x, train=False), self.variables)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ClassPredictor(Predictor):
    """Predicts a class for each image; see `Predictor`.

    Attributes:
        preparation: the preprocessing of published weights; None for a run, whose images are fitted
            to the shape of the training.
        assumed: what is not known of such weights and was assumed; '' for nothing.
    """

    preparation: Preprocessing | None = None
    assumed: str = ""

    def predict_one(self, image: Any) -> Classified:
        """The class probabilities of one image (or sequence, or volume)."""
        return self.start([self.load(image)], 1)()[0]

    def most(self, batch_size: int, **options: Any) -> int:
        return batch_size

    def load(self, image: Any, **options: Any) -> np.ndarray:
        return self.preprocess(image)

    def start(self, loaded: Sequence[Any], size: int, **options: Any) -> Callable[[], list[Any]]:
        shares = self._probabilities(filled(loaded, size))
        names = self.facts.class_names
        return lambda: [Classified(row, names) for row in np.asarray(shares)[: len(loaded)]]

    def preprocess(self, image: Any) -> np.ndarray:
        """What the network sees of an image: float32 [*space, C]."""
        if self.preparation is None and self._rank() != 3:
            return self._array(image)
        if self.preparation is not None:
            shown = inputs.image_of(image, self.facts.pixels)
            return np.asarray(self.preparation(shown), np.float32)
        height, width, channels = self.facts.image_shape
        load = LoadImage(channels, (height, width), self._crop(), True, self.facts.pixels)
        record = {"image": inputs.stored(image), "label": 0}
        with inputs.reading(image):
            pixels = np.asarray(load(record, None)["image"])
        return self._normalise_pixels(pixels)

    def shown(self, x: np.ndarray) -> Image.Image:
        """The image that the network sees, of what `preprocess` gave: before normalisation."""
        mean, std = (np.asarray(each, np.float32) for each in (self.facts.mean, self.facts.std))
        pixels = np.clip(x * std + mean, 0, 1) * 255
        return Image.fromarray(np.broadcast_to(pixels, (*x.shape[:2], 3)).astype(np.uint8))

    def _crop(self) -> str | None:
        """How an evaluation brings images to their size; see `LoadImage`."""
        crop, size = (getattr(self.recipe, name, None) for name in ("crop", "image_size"))
        return None if crop == "whole" or size == 0 else "center"

    def _array(self, given: Any) -> np.ndarray:
        """A sequence [T, C] or a volume [T, H, W, C], of the shape of the training."""
        shape = self.facts.image_shape
        wanted = f"wanted an array of the shape {list(shape)}"
        if isinstance(given, (str, bytes, Image.Image)) or not hasattr(given, "__array__"):
            raise ValueError(
                f"The network was trained on sequences of shape {list(shape)}, and these are "
                f"images: {wanted}, or give a run that was trained on images."
            )
        array = np.asarray(given)
        if array.shape != shape:
            raise ValueError(f"An array has the shape {list(array.shape)}; {wanted}.")
        if array.dtype == np.uint8:
            array = array.astype(np.float32) / 255
        elif not np.issubdtype(array.dtype, np.floating):
            raise ValueError(f"An array is of {array.dtype}; wanted uint8 or floats.")
        if np.ma.is_masked(given) or not np.isfinite(array).all():
            raise ValueError("An array has values that are masked, infinite or no numbers.")
        return self._normalise(array.astype(np.float32))

    @functools.cached_property
    def _probabilities(self) -> Callable[[Any], Any]:
        def probabilities(variables: PyTree, x: jax.Array) -> jax.Array:
            logits: Any = self.model.apply(variables, x, train=False)
            return self._shares(logits.astype(jnp.float32))  # [B, K]

        return inference.compiled(probabilities, self.variables)

    @staticmethod
    def _shares(logits: jax.Array) -> jax.Array:
        return jax.nn.softmax(logits)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LabelsPredictor(ClassPredictor):
    """Predicts the labels of each image, several or none; see `Predictor`."""

    def start(self, loaded: Sequence[Any], size: int, **options: Any) -> Callable[[], list[Any]]:
        shares, names = self._probabilities(filled(loaded, size)), self.facts.class_names
        threshold = getattr(self.recipe, "threshold", 0.5)
        return lambda: [
            Labelled(row, names, threshold) for row in np.asarray(shares)[: len(loaded)]
        ]

    @staticmethod
    def _shares(logits: jax.Array) -> jax.Array:
        return jax.nn.sigmoid(logits)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class BoxPredictor(Predictor):
    """Predicts boxes and their classes; see `Predictor`."""

    def predict_one(self, image: Any, *, threshold: float = 0.3) -> detect.Found:
        """The objects in one image, best first.

        Args:
            image: see `predict`.
            threshold: the lowest score to keep, in 0..1.
        """
        self.check(threshold=threshold)
        return self.start([self.load(image)], 1, threshold=threshold)()[0]

    def check(self, *, threshold: float = 0.3, **others: Any) -> None:
        detect.check_threshold(threshold)

    def most(self, batch_size: int, **options: Any) -> int:
        return batch_size

    def load(self, image: Any, **options: Any) -> dict[str, np.ndarray]:
        return detect.load(image, self.facts)

    def start(
        self, loaded: Sequence[Any], size: int, *, threshold: float = 0.3, **others: Any
    ) -> Callable[[], list[Any]]:
        found = self._detect(filled([each["image"] for each in loaded], size))

        return lambda: [
            detect.found_in(row, each, threshold=threshold)
            for row, each in zip(detect.first(found, len(loaded)), loaded, strict=True)
        ]

    @functools.cached_property
    def _detect(self) -> detect.Detect:
        return detect.make_detect(self.model, self.variables, self.facts)


def filled(loaded: Sequence[np.ndarray], size: int) -> np.ndarray:
    """A batch of `size` images, with zeros behind those that there are."""
    batch = np.zeros((size, *loaded[0].shape), loaded[0].dtype)
    batch[: len(loaded)] = loaded
    return batch
