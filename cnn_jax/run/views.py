"""Test-time views: a network is shown an image in several ways, and its logits are averaged."""

from collections.abc import Callable
from typing import Any

import jax

from cnn_jax.typing import Array, Network

# Each undoes itself, so that a map of classes is put back by the same view.
VIEWS: dict[str, Callable[[Array], Array]] = {
    "flip": lambda images: images[:, :, ::-1],
    "upside_down": lambda images: images[:, ::-1],
    "half_turn": lambda images: images[:, ::-1, ::-1],
    "transpose": lambda images: images.swapaxes(1, 2),
}


def parse(names: str, *, image_shape: tuple[int, ...], task: str) -> tuple[str, ...]:
    """'flip,half_turn' -> ('flip', 'half_turn').

    Args:
        names: of VIEWS.
        image_shape: (*space, C) of the network's input.
        task: what the network is for.

    Raises:
        ValueError: a view is unknown, given twice, or none for such a network.
    """
    found = tuple(name.strip() for name in names.split(",") if name.strip())
    for name in found:
        if name not in VIEWS:
            raise ValueError(f"views={name}: wanted {', '.join(VIEWS)}.")
        if found.count(name) > 1:
            raise ValueError(f"views={names}: {name} is given twice.")
        if task not in ("classification", "segmentation") or len(image_shape) != 3:
            raise ValueError(
                f"views={names}: for classification and segmentation of images. Leave it out."
            )
        if name == "transpose" and image_shape[0] != image_shape[1]:
            raise ValueError(
                f"views={name}: the network takes images of {image_shape[0]}x{image_shape[1]} "
                "pixels, and wanted are square ones."
            )
    return found


class Averaged:
    """A segmentation network whose logits are the mean over an image and its views."""

    def __init__(self, model: Network, names: tuple[str, ...]):
        self._model, self._names = model, names

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def apply(self, variables: Any, x: Array, *, train: bool) -> Any:
        """The mean logits [B, *space, K], each put back as the image lies."""
        outputs = [self._model.apply(variables, x, train=train)]
        for name in self._names:
            view = VIEWS[name]
            seen = self._model.apply(variables, view(x), train=train)
            outputs.append(jax.tree.map(view, seen))
        return jax.tree.map(lambda *leaves: sum(leaves[1:], leaves[0]) / len(leaves), *outputs)


def of_class(names: tuple[str, ...]) -> tuple[Callable[[Array], Array], ...]:
    """The views for the evaluation step of classification, which averages the logits itself."""
    return tuple(VIEWS[name] for name in names)
