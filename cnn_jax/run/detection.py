"""Trains a network to detect objects: a box and a class for each.

    python -m experiments.detection
    python -m experiments.detection --flagfile=experiments/recipes/bccd.flags --data_dir=DIR
    python -m experiments.detection --dataset=coco:PATH --model=retinanet_resnet50_fpn

Without flags it trains a small detector on scenes of handwritten digits.
"""

import dataclasses
from functools import partial
from pathlib import Path

import flax.linen as nn
import flax.traverse_util
import jax
import numpy as np
from absl import logging

from cnn_jax import data, models
from cnn_jax.analysis import detection_figures, figures
from cnn_jax.augment import STEPS
from cnn_jax.data import fingerprint
from cnn_jax.tasks import detection as tasks
from cnn_jax.train import optim, state
from cnn_jax.typing import Observed, PyTree
from experiments import entry, seeds, settings, training
from experiments import recipe as recipes
from experiments.recipe import setting

SAMPLES = 12  # images on the sheet of predictions


@dataclasses.dataclass(frozen=True, kw_only=True)
class DetectionRecipe(settings.TrainingRecipe):
    """The settings of `experiments.detection`; the defaults are the digit_scenes recipe."""

    model: str = setting("detector_small", "Name of the detection network.")
    dataset: str = setting(
        "digit_scenes",
        "Data set: a TFDS name, coco:PATH (annotations/*.json) or voc:PATH (Annotations/).",
    )
    image_size: str = setting(
        "", "Size of the input in pixels: '320' or HEIGHTxWIDTH, '480x640'; '': as stored."
    )
    fit: str = setting(
        "letterbox",
        "How images are fitted to --image_size: in proportion, or stretched.",
        choices=data.FITS,
    )
    jitter: tuple[float, ...] = setting(
        (), "Smallest and largest factor of scale jittering, on the host: '0.5,2'."
    )
    max_boxes: int = setting(
        0, "Number of boxes, the largest ones, that a training image keeps; 0: all of them."
    )
    augment: str = setting(
        "affine:0.1:0.8:1.25:1.1,colour:0.2",
        "Random augmentation of images and boxes, applied in order, out of "
        + ", ".join(STEPS["boxes"])
        + "; '' for none.",
    )
    mosaic: float = setting(0.0, "Share of training images composed of four others.")
    pretrained_backbone: str = setting(
        "", "Pretrained weights of the backbone, a classification network; as --pretrained."
    )
    # The digit_scenes recipe, where it differs from the settings that all experiments share.
    batch_size: int = setting(16, "Global batch: examples per step, over all devices.")
    epochs: float = setting(8.0, "Number of passes over the training set.")
    optimizer: str = setting("muon", f"Optimiser: {', '.join(optim.OPTIMIZERS)}.")
    learning_rate: float = setting(0.02, "Peak learning rate.")
    momentum: float = setting(0.95, "Momentum; b1 of the Adam family.")
    nesterov: bool = setting(True, "Use Nesterov momentum.")
    weight_decay: float = setting(0.01, "Weight decay of kernels; coupled for sgd, adam and lars.")
    schedule: str = setting("one_cycle", f"Learning-rate schedule: {', '.join(optim.SCHEDULES)}.")
    clip_norm: float = setting(10.0, "Global norm to clip the gradient at; 0: no clipping.")
    ema_decay: float = setting(0.998, "Decay of the moving average of the parameters; 0: none.")
    evaluate_every_epochs: float = setting(
        4.0, "Epochs between evaluations; 0: only at the end.", result=False
    )
    checkpoint_every_epochs: float = setting(4.0, "Epochs between checkpoints.", result=False)


def make_experiment(recipe: DetectionRecipe) -> training.Experiment:
    """The parts of a run that the recipe describes."""
    opened = {
        split: data.open_source(
            recipe.dataset,
            split,
            holds="boxes",
            data_dir=recipe.data_dir,
            skip_corrupt=recipe.skip_corrupt,
        )
        for split in (recipe.train_split, recipe.test_split)
    }
    train_source, test_source = opened[recipe.train_split], opened[recipe.test_split]
    class_names = train_source.class_names
    if test_source.class_names != class_names:
        raise ValueError(
            f"{recipe.dataset}: the classes of {recipe.test_split} are "
            f"{', '.join(test_source.class_names)}, those of {recipe.train_split} are "
            f"{', '.join(class_names)}. Give both splits the same classes."
        )
    held = {split: _survey(source) for split, source in opened.items()}
    channels = train_source.image_shape[2]
    size = data.parse_size(recipe.image_size)
    model = settings.create_model(recipe.model, recipe, num_classes=len(class_names))
    mean, std = data.statistics(train_source.name, channels)
    pretrained = _pretrained(recipe, model, channels)
    if pretrained is not None and pretrained.preprocessing is not None:
        mean, std = pretrained.preprocessing.mean, pretrained.preprocessing.std

    def reading(source, capacity, jitter=()) -> dict:
        load = data.box_loader(
            source, size, capacity=capacity, fit=recipe.fit, mean=mean, jitter=jitter
        )
        return {"load": load, "workers": recipe.workers}

    most = max(held[recipe.train_split].most, 1)
    capacity = recipe.max_boxes or most
    if capacity < most:
        logging.warning(
            "--max_boxes=%d: some training images have up to %d boxes, and keep the largest.",
            capacity,
            most,
        )
    train = data.train_batches(
        train_source,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        **reading(train_source, capacity, recipe.jitter),
        **settings.shared_rows(),
    )
    prepare = tasks.make_prepare(mean, std)
    augment = tasks.make_augment(prepare, augment=recipe.augment, mosaic=recipe.mosaic)
    first = {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for name, leaf in train[0].items()}
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), *first["mask"].shape))
    image = jax.eval_shape(augment, keys, first)["image"]
    frame = image.shape[1:3]

    def test(**rows):
        return data.eval_batches(
            test_source,
            batch_size=recipe.eval_batch_size or recipe.batch_size,
            # the ground truth keeps every object
            **reading(test_source, max(held[recipe.test_split].most, 1)),
            **rows,
        )

    def draw(workdir: Path, observed: Observed, variables: PyTree, predict) -> None:
        figures.learning_curves(workdir / "metrics.jsonl", workdir / "learning_curves.png")
        detection_figures.precision_recall(
            observed.rows["detections"],
            observed.rows["truth"],
            class_names,
            workdir / "precision_recall.png",
        )
        detection_figures.predictions(
            test(),
            observed.rows["detections"],
            observed.rows["truth"],
            class_names,
            workdir / "predictions.png",
            count=SAMPLES,
        )

    return training.Experiment(
        name=f"{recipe.model}-{recipe.dataset}",
        model=model,
        task=tasks.detection(class_names, model, size=frame),
        image=image,
        train=train,
        test=lambda: test(**settings.shared_rows()),
        augment=augment,
        prepare=prepare,
        head=_head(recipe, model, image),
        variables=None if pretrained is None else pretrained.variables,
        facts={
            "task": "detection",
            "model": recipe.model,
            "dataset": recipe.dataset,
            "num_classes": len(class_names),
            # experiments.predict reads these, and only from the checkpoint
            "class_names": list(class_names),
            "image_shape": list(image.shape[1:]),
            "fit": recipe.fit,
            "mean": list(mean),
            "std": list(std),
            "data": fingerprint.described({"train": train_source, "test": test_source}),
        },
        best="ap",
        draw=draw,
    )


def _pretrained(
    recipe: DetectionRecipe, model: nn.Module, channels: int
) -> models.Pretrained | None:
    """The initial variables: --pretrained, or random ones with --pretrained_backbone in place."""
    sample = jax.ShapeDtypeStruct((1, *models.describe(recipe.model).input_shape[:2], channels),
                                  np.float32)  # fmt: skip
    if not recipe.pretrained_backbone:
        return settings.load_pretrained(recipe, model, sample)
    if recipe.pretrained:
        raise ValueError("--pretrained includes a backbone: leave --pretrained_backbone out.")
    name = getattr(model, "backbone", None)
    if name is None:
        raise ValueError(
            f"--pretrained_backbone: {recipe.model} is not built on a classification network. "
            "Leave the flag out."
        )
    variables = state.init_variables(model, sample, seed=recipe.seed)
    trunk = models.create(name, num_classes=None)
    own = {key: leaves["backbone"] for key, leaves in variables.items() if "backbone" in leaves}
    loaded = models.load_pretrained(recipe.pretrained_backbone, name, trunk, template=own)
    merged = {
        key: {**leaves, "backbone": loaded.variables[key]} if key in own else leaves
        for key, leaves in variables.items()
    }
    return loaded._replace(variables=merged)


def _head(recipe: DetectionRecipe, model: nn.Module, image) -> frozenset[str]:
    """The paths of the parameters on top of the backbone, if a setting needs them; else none."""
    if not recipe.freeze and recipe.backbone_factor == 1:
        return frozenset()
    shapes = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), image)
    paths = flax.traverse_util.flatten_dict(shapes["params"], sep="/")
    return frozenset(path for path in paths if not path.startswith("backbone"))


def _survey(source: data.Source) -> data.Survey:
    """Counts the boxes of a split before the first step, and logs why some are left out."""
    held = data.survey_boxes(source)
    say = logging.warning if held.left_out else logging.info
    say("%s, split %s: %s", source.name, source.split, held)
    if not held.boxes:
        raise ValueError(f"{source.name}, split {source.split}, holds no usable box.")
    return held


def main() -> int:
    recipe = recipes.from_flags(DetectionRecipe)
    settings.set_up_jax(recipe)
    return seeds.run(recipe, make_experiment(recipe))


if __name__ == "__main__":
    recipes.define_flags(DetectionRecipe)
    entry.launch(main)
