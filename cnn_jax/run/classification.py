"""Trains a network to classify images, sequences or volumes.

    python -m experiments.classification
    python -m experiments.classification --flagfile=experiments/recipes/cifar10_resnet20.flags
    python -m experiments.classification --dataset=folder:PATH --model=resnet18 --image_size=224

Without flags it trains a small residual network on handwritten digits.
"""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cnn_jax import data, models
from cnn_jax.analysis import figures
from cnn_jax.augment import STEPS
from cnn_jax.data import fingerprint
from cnn_jax.tasks import classification as tasks
from cnn_jax.typing import Array, Observed, PyTree
from experiments import entry, seeds, settings, training
from experiments import recipe as recipes
from experiments.recipe import setting

# Images on the sheet of sample predictions.
SAMPLES = 25
BATCHES_SEARCHED = 20
HEAD_STD = 0.01
# Training images from which a network initialises layers before training (whitening): Jordan 2024,
# arXiv:2404.00498, section 3.1.
FIRST_PICTURES = 5_000
# What --augment=auto means for images: 10 degrees, a tenth of the image, 10% of the size.
AUGMENT_PICTURES = "affine:10:0.1:0.9:1.1"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassificationRecipe(settings.TrainingRecipe):
    """The settings of `experiments.classification`; the defaults are the digits recipe."""

    dataset: str = setting(
        "digits",
        "Data set: a TFDS name; folder:PATH with one sub-folder per class; ucr:NAME for time "
        "series; mnist1d or mnist1d_shuffled.",
    )
    # The digits recipe, where it differs from the settings that all experiments share.
    epochs: float = setting(60.0, "Number of passes over the training set.")
    nesterov: bool = setting(True, "Use Nesterov momentum.")
    weight_decay: float = setting(5e-4, "Weight decay of kernels; coupled for sgd, adam and lars.")
    warmup_epochs: float = setting(2.0, "Epochs of linear warm-up.")
    image_size: int = setting(0, "Height and width of the input in pixels; 0: as stored.")
    channels: int = setting(0, "Channels of the input: 1 for grey, 3 for colour; 0: as stored.")
    crop: str = setting(
        "random_resized",
        "How images are brought to --image_size: a random crop in training and the centre in "
        "evaluation; always the centre; or the whole image, stretched.",
        choices=("random_resized", "center", "whole"),
    )
    augment: str = setting(
        "auto",
        "Random augmentation of each image, applied in order, out of "
        + ", ".join(STEPS["label"])
        + f": 'flip,crop:4,cutout:8'; '' for none; auto: {AUGMENT_PICTURES} for images, none "
        "for sequences.",
    )
    mixup: float = setting(0.0, "Alpha of mixup's Beta distribution; 0 for no mixup.")
    cutmix: float = setting(0.0, "Alpha of CutMix's Beta distribution; 0 for no CutMix.")
    label_smoothing: float = setting(0.1, "Label smoothing, in [0, 1).")
    test_time_flip: bool = setting(
        False, "Evaluate the mean of the logits for an image and for its mirror image."
    )


def make_experiment(recipe: ClassificationRecipe) -> training.Experiment:
    """The parts of a run that the recipe describes."""
    train_source = data.load_source(
        recipe.dataset,
        recipe.train_split,
        data_dir=recipe.data_dir or None,
        skip_corrupt=recipe.skip_corrupt,
        channels=recipe.channels or None,
    )
    test_source = data.load_source(
        recipe.dataset,
        recipe.test_split,
        data_dir=recipe.data_dir or None,
        skip_corrupt=recipe.skip_corrupt,
        channels=recipe.channels or None,
    )
    classes = train_source.num_classes
    model = settings.create_model(recipe.model, recipe, num_classes=classes)
    size = recipe.image_size or None
    cropped = size and recipe.crop != "whole"
    load = data.image_loader(train_source, size, recipe.crop if cropped else None)
    load_centre = data.image_loader(test_source, size, "center" if cropped else None)
    train = data.train_batches(
        train_source,
        load,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        workers=recipe.workers,
        **settings.shared_rows(),
    )
    channels = train_source.image_shape[-1]
    sample = jax.ShapeDtypeStruct((1, *train[0]["image"].shape[1:-1], channels), np.float32)
    head = frozenset(
        path.removeprefix("params/") for path in models.head_paths(recipe.model, model)
    )
    pretrained = settings.load_pretrained(recipe, model, sample)
    variables = None if pretrained is None else pretrained.variables
    if variables is not None and recipe.init_head:
        variables = {**variables, "params": small_head(variables["params"], head)}
    pictures = len(train_source.image_shape) == 3
    if recipe.test_time_flip and not pictures:
        raise ValueError(
            f"--test_time_flip needs images to mirror, and {recipe.dataset} has examples of shape "
            f"{train_source.image_shape}. Leave the flag out."
        )
    mean, std = data.statistics(train_source.name, channels)
    if len(train_source.image_shape) == 2:  # sequences are standardised already
        mean, std = (0.0,) * channels, (1.0,) * channels
    if pretrained is not None and pretrained.preprocessing is not None:
        mean, std = pretrained.preprocessing.mean, pretrained.preprocessing.std
    prepare = tasks.make_prepare(mean, std)
    augment = tasks.make_augment(
        prepare,
        num_classes=classes,
        augment=(AUGMENT_PICTURES if pictures else "")
        if recipe.augment == "auto"
        else recipe.augment,
        mixup=recipe.mixup,
        cutmix=recipe.cutmix,
    )
    first = {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for name, leaf in train[0].items()}
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), *first["mask"].shape))
    image = jax.eval_shape(augment, keys, first)["image"]

    def test(**rows: Any):
        return data.eval_batches(
            test_source,
            load_centre,
            batch_size=recipe.eval_batch_size or recipe.batch_size,
            workers=recipe.workers,
            **rows,
        )

    shared = test(**settings.shared_rows())
    learnt = {}
    if pretrained is None and (from_data := models.describe(recipe.model).from_data):
        few = data.eval_batches(
            train_source,
            data.image_loader(train_source, size, "center" if cropped else None),
            batch_size=min(FIRST_PICTURES, len(train_source)),
        )[0]
        learnt = from_data(np.asarray(prepare(few)["image"])[few["mask"] > 0])

    def draw(workdir: Path, observed: Observed, variables: PyTree, predict) -> None:
        figures.learning_curves(workdir / "metrics.jsonl", workdir / "learning_curves.png")
        figures.confusion_matrix(
            observed.sums["confusion"], train_source.class_names, workdir / "confusion_matrix.png"
        )
        images, labels, logits = _samples(test(), predict)
        figures.predictions(
            images, labels, logits, train_source.class_names, workdir / "predictions.png"
        )
        figures.first_filters(variables["params"], workdir / "filters.png")

    return training.Experiment(
        name=f"{recipe.model}-{recipe.dataset}",
        model=model,
        task=tasks.classification(classes, label_smoothing=recipe.label_smoothing),
        image=image,
        train=train,
        test=lambda: shared,
        augment=augment,
        prepare=prepare,
        views=(mirrored,) if recipe.test_time_flip else (),
        head=head,
        variables=variables,
        learnt=learnt,
        facts={
            "model": recipe.model,
            "dataset": recipe.dataset,
            "num_classes": classes,
            # experiments.predict reads these, and only from the checkpoint
            "class_names": list(train_source.class_names),
            "image_shape": list(image.shape[1:]),
            "mean": list(mean),
            "std": list(std),
            "data": fingerprint.described({"train": train_source, "test": test_source}),
        },
        best="accuracy",
        draw=draw,
    )


def mirrored(images: Array) -> Array:
    """The mirror images of images [B, H, W, C], left and right swapped."""
    return images[:, :, ::-1]


def small_head(params: PyTree, head: frozenset[str]) -> PyTree:
    """A new last layer with small logits: the deviation of its kernels is HEAD_STD at most.

    A network's own initialisation is for features that have learnt nothing and for its own number
    of classes: EfficientNet's gives logits of +-5 for trained features and ten classes, which a
    short training spends on forgetting. (Kolesnikov 2020, arXiv:1912.11370, begins at 0, which
    would leave a layer dead where a ReLU follows, as in SqueezeNet.)

    Args:
        params: of the network.
        head: the paths of its last layer.
    """

    def small(path: Any, leaf: Any) -> Any:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if name not in head or leaf.ndim < 2:
            return leaf
        return leaf * min(1.0, HEAD_STD / max(float(np.std(leaf)), 1e-30))

    return jax.tree_util.tree_map_with_path(small, params)


def _samples(batches, predict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, labels and logits of a few test examples: the mistakes first, up to half of them.

    A good network makes few, so that more batches than one have to be looked through.
    """
    right: list[tuple[np.ndarray, ...]] = []
    wrong: list[tuple[np.ndarray, ...]] = []
    for batch in itertools.islice(batches, BATCHES_SEARCHED):
        logits = np.asarray(predict(batch))
        for image, label, row, mask in zip(
            batch["image"], batch["label"], logits, batch["mask"], strict=True
        ):
            if mask:
                (right if row.argmax() == label else wrong).append((image, label, row))
        if len(wrong) >= SAMPLES // 2:
            break
    wrong = wrong[: max(SAMPLES // 2, SAMPLES - len(right))]
    images, labels, rows = map(np.stack, zip(*(wrong + right)[:SAMPLES], strict=True))
    return images, labels, rows


def main() -> int:
    recipe = recipes.from_flags(ClassificationRecipe)
    settings.set_up_jax(recipe)
    return seeds.run(recipe, make_experiment(recipe))


if __name__ == "__main__":
    recipes.define_flags(ClassificationRecipe)
    entry.launch(main)
