"""Segmentation, a class for every pixel: its recipe, and what it makes."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cnn_jax import data, losses, models
from cnn_jax.augment import STEPS
from cnn_jax.run import class_weights
from cnn_jax.run.experiment import (
    Experiment,
    HeldOut,
    assemble,
    normalisation,
    rows_of_process,
)
from cnn_jax.run.facts import Facts
from cnn_jax.run.network import create_model, load_pretrained
from cnn_jax.run.recipe import LOSS_HELP, TrainingRecipe
from cnn_jax.run.settings import setting, with_defaults
from cnn_jax.run.splits import by_rule, open_splits
from cnn_jax.tasks import segmentation as tasks
from cnn_jax.typing import Network, Observed, PyTree

SAMPLES = 8  # images on the sheet of predictions

MEDIAN = "median_frequency"


@dataclasses.dataclass(frozen=True, kw_only=True)
@with_defaults(
    batch_size=8,
    epochs=9.0,
    optimizer="muon",
    learning_rate=0.02,
    momentum=0.95,
    nesterov=True,
    weight_decay=0.01,
    schedule="one_cycle",
    evaluate_every_epochs=4.5,
    checkpoint_every_epochs=4.5,
)
class SegmentationRecipe(TrainingRecipe):
    """The settings of segmentation; the defaults are for scenes of handwritten digits."""

    model: str = setting("unet_small", "Name of the segmentation network.")
    dataset: str = setting(
        "digit_scenes",
        "Data set: a TFDS name; masks:PATH with train/ and trainannot/, or images/ and masks/; or "
        "hf:PATH, saved by Hugging Face's datasets.",
    )
    image_feature: str = setting("", "Image feature of a TFDS set; '' for its own or 'image'.")
    mask_feature: str = setting("", "Mask feature of a TFDS set; '' for its own or 'mask'.")
    classes: str = setting("", "Names of the classes 0, 1, ...: 'sky,road'; '' for the set's own.")
    ignore: tuple[float, ...] = setting((255.0,), "Mask values to ignore.")
    image_size: str = setting(
        "", "Size of the input in pixels: '256' or HEIGHTxWIDTH, '360x480'; '': as stored."
    )
    augment: str = setting(
        "affine:10:0.1:0.8:1.2,colour:0.2",
        "Random augmentation of images and masks, applied in order, out of "
        + ", ".join(STEPS["mask"])
        + "; '' for none.",
    )
    loss: str | Mapping[str, float] = setting("cross_entropy+dice", LOSS_HELP, read=losses.to_text)
    class_weights: str | Iterable[float] = setting(
        "none",
        f"{class_weights.HELP}; or {MEDIAN}, by the images they occur in. Dice and Jaccard have "
        "none.",
        read=partial(class_weights.to_text, words=(MEDIAN,)),
    )


def make_experiment(recipe: SegmentationRecipe) -> Experiment:
    """The parts of a run that the recipe describes."""
    splits = open_splits(recipe, partial(open_split, recipe))
    names = splits.class_names
    model = create_model(recipe.model, recipe, num_classes=len(names))
    train = data.train_batches(
        splits.train,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        **_reading(splits.train, recipe),
        **rows_of_process(),
    )
    space = train[0]["image"].shape[1:-1]
    sample = jax.ShapeDtypeStruct((1, *space, splits.channels), np.float32)
    pretrained = load_pretrained(recipe, model, sample, names)
    statistics = normalisation(splits, pretrained)
    counted = _batches(recipe, splits.train)
    weights = class_weights.weights_of(
        str(recipe.class_weights),
        names,
        {
            MEDIAN: lambda: data.median_frequency_weights(counted(), len(names)),
            "balanced": lambda: class_weights.balanced(data.pixel_counts(counted(), len(names))),
        },
    )
    return assemble(
        recipe,
        "segmentation",
        splits,
        model=model,
        pretrained=pretrained,
        statistics=statistics,
        train=train,
        augment=tasks.make_augment(tasks.make_prepare(*statistics), augment=recipe.augment),
        held_out=held_out,
        draw=_draw,
        task=tasks.segmentation(names, loss=recipe.loss, class_weights=weights),
        best=tasks.BEST,
        head=_head(recipe, model),
    )


def open_split(recipe: SegmentationRecipe, split: str) -> data.Source:
    """A split of the recipe's data set."""
    return data.open_source(
        recipe.dataset,
        split,
        holds="mask",
        data_dir=recipe.data_dir,
        image_feature=recipe.image_feature,
        mask_feature=recipe.mask_feature,
        class_names=[name.strip() for name in recipe.classes.split(",") if name.strip()],
        ignored=[int(value) for value in recipe.ignore if value != 255],  # that is always
        skip_corrupt=recipe.skip_corrupt,
    )


def held_out(
    recipe: SegmentationRecipe, facts: Facts, model: Network, source: data.Source
) -> HeldOut:
    """How images that were not trained on are evaluated."""
    source = by_rule(source, facts.pixels)
    return HeldOut(
        task=tasks.segmentation(facts.class_names, loss=recipe.loss),
        batches=_batches(recipe, source),
        prepare=tasks.make_prepare(facts.mean, facts.std),
    )


def _batches(recipe: SegmentationRecipe, source: data.Source) -> Callable[..., Any]:
    batch_size = recipe.eval_batch_size or recipe.batch_size
    return partial(data.eval_batches, source, batch_size=batch_size, **_reading(source, recipe))


def _draw(
    held: HeldOut, facts: Facts, workdir: Path, observed: Observed, variables: PyTree, predict: Any
) -> None:
    from cnn_jax.analysis import figures, segmentation_figures  # late: Matplotlib

    names = facts.class_names
    figures.confusion_matrix(observed.sums["confusion"], names, workdir / "confusion_matrix.png")
    batch = next(iter(held.batches()))
    kept = np.flatnonzero(batch["mask"])[:SAMPLES]
    segmentation_figures.predictions(
        batch["image"][kept],
        batch["label"][kept],
        predict(batch)[kept].argmax(-1),
        names,
        workdir / "predictions.png",
    )


def _head(recipe: SegmentationRecipe, model) -> frozenset[str]:
    """The paths of the parameters of the last layers, if a setting needs them; else none."""
    if not recipe.freeze and recipe.backbone_factor == 1:
        return frozenset()
    paths = models.head_paths(recipe.model, model)
    return frozenset(path.removeprefix("params/") for path in paths)


def _reading(source: data.Source, recipe: SegmentationRecipe) -> dict:
    """The arguments of the pipeline that reads this source."""
    load = data.mask_loader(source, data.parse_size(recipe.image_size))
    return {"load": load, "workers": recipe.workers}
