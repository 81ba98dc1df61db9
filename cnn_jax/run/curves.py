"""The learning curves of a run, and why its training loss stands where it does."""

import dataclasses
from pathlib import Path
from typing import Any


def draw(recipe: Any, model: Any, image_shape: tuple[int, ...], workdir: Path) -> None:
    """Draws `learning_curves.png` of a run's `metrics.jsonl`.

    Args:
        recipe: its recipe.
        model: its network.
        image_shape: [*space, C] of an input.
        workdir: its directory.
    """
    from cnn_jax.analysis import figures  # late: Matplotlib

    figures.learning_curves(
        workdir / "metrics.jsonl",
        workdir / "learning_curves.png",
        harder=harder(recipe, model, len(image_shape) == 3),
    )


def harder(recipe: Any, model: Any, are_images: bool) -> list[str]:
    """What makes the training loss of a run larger than an evaluation's, as it is set.

    Args:
        recipe: the recipe of any task.
        model: the network; its layers that drop something are fields with 'drop' in their names.
        are_images: whether the inputs are images, which 'auto' augments.
    """
    settings = vars(recipe)
    augment = settings.get("augment", "")
    mixed = [name for name in ("mixup", "cutmix", "mosaic") if settings.get(name)]
    cropped = settings.get("crop") == "random_resized" and bool(settings.get("image_size"))
    found = []
    if (augment == "auto" and are_images) or augment not in ("", "auto") or cropped or mixed:
        found.append("augmentation" + (f" ({' and '.join(mixed)} too)" if mixed else ""))
    if settings.get("label_smoothing"):
        found.append(f"label smoothing {settings['label_smoothing']:g}")
    if not settings.get("freeze") and _drops(model):
        found.append("dropout")
    if settings.get("ema_decay"):
        found.append("weights as they are, not their moving average")
    return found


def _drops(model: Any) -> bool:
    fields = dataclasses.fields(model) if dataclasses.is_dataclass(model) else ()
    names = [field.name for field in fields if "drop" in field.name]
    values = [getattr(model, name) for name in names]
    return any(isinstance(value, int | float) and value > 0 for value in values)
