"""Classification of images, sequences or volumes: its recipe, and what it makes."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np

from cnn_jax import data, losses, models
from cnn_jax.augment import STEPS
from cnn_jax.run import class_weights, fine_tuning
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
from cnn_jax.tasks import classification as tasks
from cnn_jax.typing import Array, Network, Observed, PyTree, Task

# Images on the sheet of sample predictions.
SAMPLES = 25
BATCHES_SEARCHED = 20
HEAD_STD = 0.01
# Training images from which a network initialises layers before training (whitening): Jordan 2024,
# arXiv:2404.00498, section 3.1.
FIRST_IMAGES = 5_000
# What augment='auto' means for images: 10 degrees, a tenth of the image, 10% of the size.
AUGMENT_IMAGES = "affine:10:0.1:0.9:1.1"


@dataclasses.dataclass(frozen=True, kw_only=True)
@with_defaults(epochs=60.0, nesterov=True, weight_decay=5e-4, warmup_epochs=2.0)  # for digits
class ClassificationRecipe(TrainingRecipe):
    """The settings of classification; the defaults are for handwritten digits."""

    fine_tuning_defaults: ClassVar[fine_tuning.Defaults | None] = fine_tuning.CLASSIFICATION

    dataset: str = setting(
        "digits",
        "Data set: a TFDS name; folder:PATH with one sub-folder per class; csv:PATH with files and "
        "labels; npz:PATH with arrays; hf:PATH, saved by Hugging Face's datasets; ucr:NAME for "
        "time series; mnist1d or mnist1d_shuffled.",
    )
    image_size: int = setting(0, "Height and width of the input in pixels; 0: as stored.")
    channels: int = setting(0, "Channels of the input: 1 for grey, 3 for colour; 0: as stored.")
    crop: str = setting(
        "random_resized",
        "How images are brought to `image_size`: a random crop in training and the centre in "
        "evaluation; always the centre; or the whole image, stretched.",
        choices=("random_resized", "center", "whole"),
    )
    augment: str = setting(
        "auto",
        "Random augmentation of each image, applied in order, out of "
        + ", ".join(STEPS["label"])
        + f": 'flip,crop:4,cutout:8'; '' for none; auto: {AUGMENT_IMAGES} for images, none "
        "for sequences.",
    )
    mixup: float = setting(0.0, "Alpha of mixup's Beta distribution; 0 for no mixup.")
    cutmix: float = setting(0.0, "Alpha of CutMix's Beta distribution; 0 for no CutMix.")
    loss: str | Mapping[str, float] = setting("cross_entropy", LOSS_HELP, read=losses.to_text)
    label_smoothing: float = setting(0.1, "Label smoothing, in [0, 1).")
    class_weights: str | Iterable[float] = setting(
        "none", f"{class_weights.HELP}.", read=class_weights.to_text
    )
    balance: float = setting(
        0.0,
        "Sampling of the training examples by class: 0, as often as they are, to 1, every class "
        "equally often; 0.5 by the square root of their frequency.",
        least=0,
    )
    test_time_flip: bool = setting(
        False, "Evaluate the mean of the logits for an image and for its mirror image."
    )


class Kind(NamedTuple):
    """In what classification with one label and with several differ.

    Attributes:
        name: name of the task.
        open_split: (recipe, split) -> the data.
        held_out: (recipe, facts, model, source) -> how that source is evaluated.
        draw: see `cnn_jax.run.experiment.assemble`.
        best: the metric that marks the best checkpoint.
    """

    name: str
    open_split: Callable[[Any, str], data.Source]
    held_out: Callable[[Any, Facts, Network, data.Source], HeldOut]
    draw: Callable[..., None]
    best: str


def make_experiment(recipe: ClassificationRecipe) -> Experiment:
    """The parts of a run that the recipe describes."""
    return make_of_kind(recipe, Kind("classification", open_split, held_out, _draw, tasks.BEST))


def make_of_kind(recipe: ClassificationRecipe, kind: Kind) -> Experiment:
    """The parts of a run with one label for an image, or with several."""
    splits = open_splits(recipe, partial(kind.open_split, recipe))
    model = create_model(recipe.model, recipe, num_classes=splits.train.num_classes)
    train = data.train_batches(
        splits.train,
        _loader(recipe, splits.train, recipe.crop),
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        workers=recipe.workers,
        balance=recipe.balance,
        **rows_of_process(),
    )
    space = train[0]["image"].shape[1:-1]
    sample = jax.ShapeDtypeStruct((1, *space, splits.channels), np.float32)
    head = frozenset(
        path.removeprefix("params/") for path in models.head_paths(recipe.model, model)
    )
    pretrained = load_pretrained(recipe, model, sample, splits.class_names)
    if pretrained is not None and recipe.init_head:
        params = small_head(pretrained.variables["params"], head)
        pretrained = pretrained._replace(variables={**pretrained.variables, "params": params})
    are_images = len(splits.train.image_shape) == 3
    if recipe.test_time_flip and not are_images:
        raise ValueError(
            f"test_time_flip=True needs images to mirror, and {recipe.dataset} has examples of "
            f"shape {splits.train.image_shape}. Leave it out."
        )
    statistics = normalisation(splits, pretrained)
    if len(splits.train.image_shape) == 2 and (
        pretrained is None or pretrained.preprocessing is None
    ):  # sequences are standardised already
        statistics = (0.0,) * splits.channels, (1.0,) * splits.channels
    prepare = tasks.make_prepare(*statistics)
    augment = tasks.make_augment(
        prepare,
        num_classes=splits.train.num_classes,
        augment=(AUGMENT_IMAGES if are_images else "")
        if recipe.augment == "auto"
        else recipe.augment,
        mixup=recipe.mixup,
        cutmix=recipe.cutmix,
    )
    learnt = {}
    if pretrained is None and (from_data := models.describe(recipe.model).from_data):
        few = data.eval_batches(
            splits.train,
            _loader(recipe, splits.train, "center"),
            batch_size=min(FIRST_IMAGES, len(splits.train)),
        )[0]
        learnt = from_data(np.asarray(prepare(few)["image"])[few["mask"] > 0])
    weights = class_weights.weights_of(
        str(recipe.class_weights),
        splits.class_names,
        {"balanced": lambda: class_weights.balanced(data.class_counts(splits.train))},
    )
    return assemble(
        recipe,
        kind.name,
        splits,
        model=model,
        pretrained=pretrained,
        statistics=statistics,
        train=train,
        augment=augment,
        held_out=kind.held_out,
        draw=kind.draw,
        task=None if weights is None else _task(recipe, len(splits.class_names), weights),
        best=kind.best,
        head=head,
        learnt=learnt,
    )


def open_split(recipe: ClassificationRecipe, split: str) -> data.Source:
    """A split of the recipe's data set."""
    return data.load_source(
        recipe.dataset,
        split,
        data_dir=recipe.data_dir or None,
        skip_corrupt=recipe.skip_corrupt,
        channels=recipe.channels or None,
    )


def held_out(
    recipe: ClassificationRecipe, facts: Facts, model: Network, source: data.Source
) -> HeldOut:
    """How examples that were not trained on are evaluated."""
    source = by_rule(source, facts.pixels)
    load = _loader(recipe, source, "center")

    def batches(**rows: Any):
        return data.eval_batches(
            source,
            load,
            batch_size=recipe.eval_batch_size or recipe.batch_size,
            workers=recipe.workers,
            **rows,
        )

    return HeldOut(
        task=_task(recipe, facts.num_classes),
        batches=batches,
        prepare=tasks.make_prepare(facts.mean, facts.std),
        views=(mirrored,) if recipe.test_time_flip else (),
    )


def _task(
    recipe: ClassificationRecipe, num_classes: int, weights: np.ndarray | None = None
) -> Task:
    return tasks.classification(
        num_classes,
        label_smoothing=recipe.label_smoothing,
        loss=recipe.loss,
        class_weights=weights,
    )


def _loader(recipe: ClassificationRecipe, source: data.Source, crop: str) -> Any:
    """What makes an example of a record: images are brought to their size by this crop."""
    size = recipe.image_size or None
    return data.image_loader(source, size, crop if size and recipe.crop != "whole" else None)


def _draw(
    held: HeldOut, facts: Facts, workdir: Path, observed: Observed, variables: PyTree, predict: Any
) -> None:
    from cnn_jax.analysis import figures  # late: Matplotlib

    names = facts.class_names
    figures.confusion_matrix(observed.sums["confusion"], names, workdir / "confusion_matrix.png")
    images, labels, logits = _samples(held.batches(), predict)
    figures.predictions(images, labels, logits, names, workdir / "predictions.png")
    figures.first_filters(variables["params"], workdir / "filters.png")


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
