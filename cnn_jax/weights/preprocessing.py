"""The preprocessing of images for a network: part of its weights, not of its architecture.

The same network with other weights may need another size, or values from -1 to 1. Wrong
preprocessing raises no error and only costs accuracy, so it is stored with the weights.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cnn_jax.weights.errors import WeightsError

if TYPE_CHECKING:  # Pillow is for images: networks are created where it is not installed
    from PIL import Image

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_MOST_PIXELS = 10_000  # per side; a file may claim anything

_RESAMPLING = ("nearest", "bilinear", "bicubic", "lanczos")  # names of Pillow's, in lower case


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """Resize, crop the centre, scale to [0, 1], subtract the mean, divide by the deviation.

    Attributes:
        resize: pixels of the shorter side; or (height, width), whatever the aspect ratio.
        crop: (height, width) of the centre crop, padded with black if the image is smaller.
        interpolation: 'nearest', 'bilinear', 'bicubic' or 'lanczos'.
        antialias: whether to average over all pixels that become one, as Pillow does. False samples
            four of them, bilinearly, as for the video networks of torchvision.
        mean, std: mean and standard deviation of each channel, for values in [0, 1].
        source: where these settings were published.
    """

    resize: int | tuple[int, int] = 256
    crop: tuple[int, int] = (224, 224)
    interpolation: str = "bilinear"
    antialias: bool = True
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    source: str = ""

    def __post_init__(self) -> None:
        if self.interpolation not in _RESAMPLING:
            raise ValueError(
                f"interpolation is {self.interpolation!r}; it must be one of "
                f"{', '.join(_RESAMPLING)}."
            )
        sizes = (
            (self.resize, *self.crop)
            if isinstance(self.resize, int)
            else (*self.resize, *self.crop)
        )
        if not all(isinstance(size, int) and 1 <= size <= _MOST_PIXELS for size in sizes):
            raise ValueError(f"sizes of {sizes[:4]}: wanted 1 to {_MOST_PIXELS} pixels per side.")
        if len(self.mean) != len(self.std) or not all(s > 0 for s in self.std):
            raise ValueError(f"mean {self.mean} and std {self.std} do not belong together.")

    def __call__(self, image: "Image.Image | np.ndarray") -> np.ndarray:
        """Preprocesses an image for the network.

        Args:
            image: Pillow's image, or uint8 [H, W, 3]; uint8 [T, H, W, 3] is a clip of frames.

        Returns:
            float32 [*crop, 3], or [T, *crop, 3].
        """
        from PIL import Image

        if not isinstance(image, Image.Image):
            pixels = np.asarray(image)
            if pixels.ndim == 4:
                return np.stack([self(frame) for frame in pixels])
            if pixels.dtype != np.uint8 or pixels.ndim != 3:
                raise ValueError(
                    f"an image is uint8 [H, W, 3], or a clip [T, H, W, 3]; got {pixels.dtype} "
                    f"{list(pixels.shape)}."
                )
            image = Image.fromarray(pixels)
        return self.normalise(self.pixels(image))

    def pixels(self, image: "Image.Image") -> np.ndarray:
        """An image resized and cropped: uint8 [*crop, 3]."""
        return self._cropped(self._resized(image.convert("RGB")))

    def normalise(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 [..., C] -> float32 [..., C]: scaling and normalisation alone."""
        scaled = pixels.astype(np.float32) / 255
        return (scaled - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)

    def _resized(self, image: "Image.Image") -> np.ndarray:
        width, height = image.size
        if isinstance(self.resize, int):  # the longer side is rounded down, as torchvision does
            shorter = min(width, height)
            width, height = self.resize * width // shorter, self.resize * height // shorter
        else:
            height, width = self.resize
        if image.size == (width, height):
            return np.asarray(image)
        if not self.antialias:
            return _sampled(np.asarray(image), height, width)
        from PIL import Image

        filter_ = Image.Resampling[self.interpolation.upper()]
        return np.asarray(image.resize((width, height), filter_))

    def _cropped(self, pixels: np.ndarray) -> np.ndarray:  # [H, W, 3] -> [*crop, 3]
        for axis, size in enumerate(self.crop):
            missing = max(size - pixels.shape[axis], 0)
            pads = [(0, 0)] * 3
            pads[axis] = (missing // 2, missing - missing // 2)
            pixels = np.pad(pixels, pads)
            start = round((pixels.shape[axis] - size) / 2)
            pixels = np.take(pixels, range(start, start + size), axis)
        return pixels

    def to_json(self) -> str:
        """JSON for the text header of a safetensors file; `from_json` reads it back."""
        return json.dumps(dataclasses.asdict(self))


def _sampled(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes [H, W, C] uint8 bilinearly, from the four pixels around each new pixel's centre."""
    values = pixels.astype(np.float32)
    for axis, size in enumerate((height, width)):
        old = values.shape[axis]
        position = np.clip((np.arange(size) + 0.5) * old / size - 0.5, 0, old - 1)
        left = np.floor(position).astype(int)
        right = np.minimum(left + 1, old - 1)
        share = (position - left).astype(np.float32)
        share = share.reshape([-1 if i == axis else 1 for i in range(values.ndim)])
        values = values.take(left, axis) * (1 - share) + values.take(right, axis) * share
    return np.rint(values).astype(np.uint8)


def from_json(text: str) -> Preprocessing:
    """Reads the JSON of `Preprocessing.to_json`.

    Raises:
        WeightsError: the text is something else.
    """
    try:
        stored: dict[str, Any] = json.loads(text)
        fields: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()
        }
        return Preprocessing(**fields)
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        reason = str(error)[:200]
        raise WeightsError(
            f"the preprocessing in the file's header is damaged: {reason}"
        ) from error


def from_timm(config: Mapping[str, Any], source: str) -> Preprocessing:
    """Reads timm's `pretrained_cfg`, which its repositories on the Hub keep in config.json.

    Raises:
        WeightsError: its crop mode is not supported, or it is something else.
    """
    try:
        return _from_timm(config.get("pretrained_cfg", config), source)
    except (TypeError, ValueError, AttributeError, LookupError) as error:
        if isinstance(error, WeightsError):
            raise
        reason = f"{type(error).__name__}: {str(error)[:200]}"
        raise WeightsError(f"{source}: its config.json is not one of timm's ({reason})") from error


def _from_timm(config: Mapping[str, Any], source: str) -> Preprocessing:
    _, height, width = config["input_size"]
    crop_pct = config.get("crop_pct") or 0.875
    if config.get("crop_mode", "center") != "center":
        raise WeightsError(f"{source}: crop_mode {config['crop_mode']!r} is not supported")
    if height == width:
        resize: int | tuple[int, int] = int(height / crop_pct)
    else:
        resize = (int(height / crop_pct), int(width / crop_pct))
    return Preprocessing(
        resize=resize,
        crop=(height, width),
        interpolation=config.get("interpolation", "bicubic"),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        source=source,
    )
