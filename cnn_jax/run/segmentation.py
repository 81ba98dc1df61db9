"""Trains a network to classify every pixel.

    python -m experiments.segmentation
    python -m experiments.segmentation --flagfile=experiments/recipes/digit_scenes_mlp.flags
    python -m experiments.segmentation --dataset=masks:PATH --model=segnet_basic --ignore=11

Without flags it trains a small U-Net on scenes of handwritten digits.
"""

import dataclasses
from pathlib import Path

import jax
import numpy as np

from cnn_jax import data, models
from cnn_jax.analysis import figures, segmentation_figures
from cnn_jax.augment import STEPS
from cnn_jax.data import fingerprint
from cnn_jax.tasks import segmentation as tasks
from cnn_jax.train import optim
from cnn_jax.typing import Observed, PyTree
from experiments import entry, seeds, settings, training
from experiments import recipe as recipes
from experiments.recipe import setting

SAMPLES = 8  # images on the sheet of predictions

CLASS_WEIGHTS = ("none", "median_frequency")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SegmentationRecipe(settings.TrainingRecipe):
    """The settings of `experiments.segmentation`; the defaults are the digit_scenes recipe."""

    model: str = setting("unet_small", "Name of the segmentation network.")
    dataset: str = setting(
        "digit_scenes",
        "Data set: a TFDS name, or masks:PATH with train/ and trainannot/, or images/ and masks/.",
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
    loss: str = setting("cross_entropy+dice", "Training loss.", choices=tasks.LOSSES)
    class_weights: str = setting(
        "none", "Weights of the classes in the cross-entropy.", choices=CLASS_WEIGHTS
    )
    # The digit_scenes recipe, where it differs from the settings that all experiments share.
    batch_size: int = setting(8, "Global batch: examples per step, over all devices.")
    epochs: float = setting(9.0, "Number of passes over the training set.")
    optimizer: str = setting("muon", f"Optimiser: {', '.join(optim.OPTIMIZERS)}.")
    learning_rate: float = setting(0.02, "Peak learning rate.")
    momentum: float = setting(0.95, "Momentum; b1 of the Adam family.")
    nesterov: bool = setting(True, "Use Nesterov momentum.")
    weight_decay: float = setting(0.01, "Weight decay of kernels; coupled for sgd, adam and lars.")
    schedule: str = setting("one_cycle", f"Learning-rate schedule: {', '.join(optim.SCHEDULES)}.")
    evaluate_every_epochs: float = setting(
        4.5, "Epochs between evaluations; 0: only at the end.", result=False
    )
    checkpoint_every_epochs: float = setting(4.5, "Epochs between checkpoints.", result=False)


def make_experiment(recipe: SegmentationRecipe) -> training.Experiment:
    """The parts of a run that the recipe describes."""
    sources = {
        split: data.open_source(
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
        for split in (recipe.train_split, recipe.test_split)
    }
    train_source, test_source = sources[recipe.train_split], sources[recipe.test_split]
    class_names = train_source.class_names
    model = settings.create_model(recipe.model, recipe, num_classes=len(class_names))
    train = data.train_batches(
        train_source,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        **_reading(train_source, recipe),
        **settings.shared_rows(),
    )
    channels = train_source.image_shape[2]
    mean, std = data.statistics(train_source.name, channels)
    sample = jax.ShapeDtypeStruct((1, *train[0]["image"].shape[1:-1], channels), np.float32)
    pretrained = settings.load_pretrained(recipe, model, sample)
    if pretrained is not None and pretrained.preprocessing is not None:
        mean, std = pretrained.preprocessing.mean, pretrained.preprocessing.std
    prepare = tasks.make_prepare(mean, std)
    augment = tasks.make_augment(prepare, augment=recipe.augment)
    first = {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for name, leaf in train[0].items()}
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), *first["mask"].shape))
    image = jax.eval_shape(augment, keys, first)["image"]

    def evaluation(source, **rows):
        batch_size = recipe.eval_batch_size or recipe.batch_size
        return data.eval_batches(source, batch_size=batch_size, **_reading(source, recipe), **rows)

    weights = None
    if recipe.class_weights == "median_frequency":
        weights = data.median_frequency_weights(evaluation(train_source), len(class_names))

    def draw(workdir: Path, observed: Observed, variables: PyTree, predict) -> None:
        figures.learning_curves(workdir / "metrics.jsonl", workdir / "learning_curves.png")
        figures.confusion_matrix(
            observed.sums["confusion"], class_names, workdir / "confusion_matrix.png"
        )
        batch = next(iter(evaluation(test_source)))
        kept = np.flatnonzero(batch["mask"])[:SAMPLES]
        segmentation_figures.predictions(
            batch["image"][kept],
            batch["label"][kept],
            predict(batch)[kept].argmax(-1),
            class_names,
            workdir / "predictions.png",
        )

    return training.Experiment(
        name=f"{recipe.model}-{recipe.dataset}",
        model=model,
        task=tasks.segmentation(class_names, loss=recipe.loss, class_weights=weights),
        image=image,
        train=train,
        test=lambda: evaluation(test_source, **settings.shared_rows()),
        augment=augment,
        prepare=prepare,
        head=_head(recipe, model),
        variables=None if pretrained is None else pretrained.variables,
        facts={
            "task": "segmentation",
            "model": recipe.model,
            "dataset": recipe.dataset,
            "num_classes": len(class_names),
            # experiments.predict reads these, and only from the checkpoint
            "class_names": list(class_names),
            "image_shape": list(image.shape[1:]),
            "mean": list(mean),
            "std": list(std),
            "data": fingerprint.described({"train": train_source, "test": test_source}),
        },
        best="mean_iou",
        draw=draw,
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


def main() -> int:
    recipe = recipes.from_flags(SegmentationRecipe)
    settings.set_up_jax(recipe)
    return seeds.run(recipe, make_experiment(recipe))


if __name__ == "__main__":
    recipes.define_flags(SegmentationRecipe)
    entry.launch(main)
