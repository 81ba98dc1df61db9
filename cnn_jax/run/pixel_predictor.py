"""Trained networks that say of every pixel what it is."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.data.crop import resample
from cnn_jax.run import inference, tiles
from cnn_jax.run.answers import Segmented
from cnn_jax.run.predictor import Predictor, filled
from cnn_jax.typing import PyTree


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PixelPredictor(Predictor):
    """Predicts a class for each pixel; see `Predictor`."""

    def predict_one(
        self, image: Any, *, tile: int | tuple[int, int] | None = None, overlap: float = 0.25
    ) -> Segmented:
        """The classes of the pixels of one image.

        Args:
            image: see `predict`.
            tile: side, or (height, width), of the tiles that a larger image is cut into, in pixels.
                Default: what an evaluation does: with an `image_size`, the image is resized to it
                and the answer back; without one, the tiles have the size of the training's images.
            overlap: overlap of neighbouring tiles, as a fraction of their side, in [0, 1).
        """
        options: dict[str, Any] = {"tile": tile, "overlap": overlap}
        self.check(**options)
        return self.start([self.load(image, **options)], 1, **options)()[0]

    def check(self, *, tile: Any = None, overlap: float = 0.25, **others: Any) -> None:
        if not 0 <= overlap < 1:
            raise ValueError(f"overlap={overlap}: it must be in [0, 1).")
        if tile is not None:
            tiles.sides(tile)

    def most(self, batch_size: int, *, tile: Any = None, **others: Any) -> int:
        return batch_size if self._is_whole(tile) else 1

    def load(self, image: Any, *, tile: Any = None, **others: Any) -> Any:
        """(pixels uint8 [h, w, C] as the network takes them, (height, width) of the image)."""
        pixels = self._pixels(image)
        size = (self.facts.image_shape[0], self.facts.image_shape[1])
        if tile is None and self._resizes():
            return resample(pixels, size), pixels.shape[:2]
        return pixels, pixels.shape[:2]

    def start(
        self, loaded: Sequence[Any], size: int, *, tile: Any = None, overlap: float = 0.25,
        **others: Any,
    ) -> Callable[[], list[Any]]:  # fmt: skip
        if size > 1:
            shares = self._shares(filled([pixels for pixels, _ in loaded], size))
            return lambda: [
                self._segmented(row, own)
                for row, (_, own) in zip(np.asarray(shares), loaded, strict=False)
            ]
        return lambda: [
            self._segmented(self._tiled(pixels, tile, overlap), own) for pixels, own in loaded
        ]

    def _resizes(self) -> bool:
        """Whether an evaluation resizes images to the size of the training."""
        return bool(getattr(self.recipe, "image_size", None))

    def _is_whole(self, tile: Any) -> bool:
        """Whether an image is one tile, of which the network says all."""
        shape = self.facts.image_shape
        if tile is not None or not self._resizes():
            return False
        return self._out(shape) == shape[:2]

    def _out(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """(height, width) of what the network says of an input of this shape, without the batch."""
        x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
        made: Any = jax.eval_shape(partial(self.model.apply, train=False), self.variables, x)
        return made.shape[1:3]

    def _tiled(self, pixels: np.ndarray, tile: Any, overlap: float) -> np.ndarray:
        *space, channels = self.facts.image_shape
        size = (space[0], space[1]) if tile is None else tiles.sides(tile)
        out = self._out((*size, channels))
        shared = (int(overlap * out[0]), int(overlap * out[1]))
        x = self._normalise_pixels(pixels)
        return tiles.segment(self.apply, x, tile=size, overlap=shared)

    def _segmented(self, probabilities: np.ndarray, own: tuple[int, int]) -> Segmented:
        """The answer at the size of the image, of probabilities [h, w, K]."""
        if probabilities.shape[:2] != own:
            shape = (*own, probabilities.shape[-1])
            probabilities = np.asarray(jax.image.resize(probabilities, shape, "linear"))
        label = probabilities.argmax(-1).astype(np.uint8)
        return Segmented(label, probabilities, self.facts.class_names)

    @functools.cached_property
    def _shares(self) -> Callable[[Any], Any]:
        mean, std = (np.asarray(each, np.float32) for each in (self.facts.mean, self.facts.std))

        def shares(variables: PyTree, pixels: jax.Array) -> jax.Array:
            x = (pixels.astype(jnp.float32) / 255 - mean) / std
            logits: Any = self.model.apply(variables, x, train=False)
            return jax.nn.softmax(logits.astype(jnp.float32))  # [B, H, W, K]

        return inference.compiled(shares, self.variables)
