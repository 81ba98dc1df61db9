"""Detection of objects, a box and a class for each: its recipe, and what it makes."""

import contextlib
import dataclasses
import logging
import weakref
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import numpy as np

from cnn_jax import data, models
from cnn_jax.augment import STEPS
from cnn_jax.data.errors import UnlabelledError
from cnn_jax.run.experiment import (
    Experiment,
    HeldOut,
    assemble,
    normalisation,
    rows_of_process,
)
from cnn_jax.run.facts import Facts
from cnn_jax.run.network import (
    create_model,
    load_pretrained,
    pretrained_for,
    read_unless_resumed,
)
from cnn_jax.run.recipe import TrainingRecipe
from cnn_jax.run.settings import setting, with_defaults
from cnn_jax.run.splits import Splits, by_rule, open_splits
from cnn_jax.tasks import detection as tasks
from cnn_jax.train import state
from cnn_jax.typing import Observed, PyTree

_log = logging.getLogger(__name__)

SAMPLES = 12  # images on the sheet of predictions


@dataclasses.dataclass(frozen=True, kw_only=True)
@with_defaults(
    batch_size=16,
    epochs=8.0,
    optimizer="muon",
    learning_rate=0.02,
    momentum=0.95,
    nesterov=True,
    weight_decay=0.01,
    schedule="one_cycle",
    clip_norm=10.0,
    ema_decay=0.998,
    evaluate_every_epochs=4.0,
    checkpoint_every_epochs=4.0,
)
class DetectionRecipe(TrainingRecipe):
    """The settings of detection; the defaults are for scenes of handwritten digits."""

    model: str = setting("detector_small", "Name of the detection network.")
    dataset: str = setting(
        "digit_scenes",
        "Data set: a TFDS name, coco:PATH (annotations/*.json), voc:PATH (Annotations/), yolo:PATH "
        "(data.yaml, or images/ and labels/) or hf:PATH (saved by Hugging Face's datasets).",
    )
    image_size: str = setting(
        "", "Size of the input in pixels: '320' or HEIGHTxWIDTH, '480x640'; '': as stored."
    )
    fit: str = setting(
        "letterbox",
        "How images are fitted to `image_size`: in proportion, or stretched.",
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
        "", "Pretrained weights of the backbone, a classification network; as `pretrained`."
    )


def make_experiment(recipe: DetectionRecipe) -> Experiment:
    """The parts of a run that the recipe describes."""
    splits = open_splits(recipe, partial(open_split, recipe))
    most = max(_survey(splits.train).most, 1)
    capacity = recipe.max_boxes or most
    if capacity < most:
        _log.warning(
            "max_boxes=%d: some training images have up to %d boxes, and keep the largest.",
            capacity,
            most,
        )
    model = create_model(recipe.model, recipe, num_classes=len(splits.class_names))
    pretrained = _pretrained(recipe, model, splits)
    statistics = normalisation(splits, pretrained)
    train = data.train_batches(
        splits.train,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        **_reading(recipe, splits.train, statistics, capacity, recipe.jitter),
        **rows_of_process(),
    )
    made = assemble(
        recipe,
        "detection",
        splits,
        model=model,
        pretrained=pretrained,
        statistics=statistics,
        train=train,
        augment=tasks.make_augment(
            tasks.make_prepare(*statistics), augment=recipe.augment, mosaic=recipe.mosaic
        ),
        held_out=partial(held_out, room=_room(splits)),
        draw=_draw,
        fit=recipe.fit,
        best=tasks.BEST,
    )
    return made._replace(head=_head(recipe, model, made.image))


def open_split(recipe: DetectionRecipe, split: str) -> data.Source:
    """A split of the recipe's data set."""
    return data.open_source(
        recipe.dataset,
        split,
        holds="boxes",
        data_dir=recipe.data_dir,
        skip_corrupt=recipe.skip_corrupt,
    )


def held_out(
    recipe: DetectionRecipe, facts: Facts, model: Any, source: data.Source, *, room: int = 1
) -> HeldOut:
    """How images that were not trained on are evaluated.

    Args:
        recipe, facts, model, source: see `cnn_jax.run.tasks.TaskRun`.
        room: boxes that the ground truth of an image has room for, at least.
    """
    most = max(_survey(source).most, room)  # the ground truth keeps every object
    source = by_rule(source, facts.pixels)
    return HeldOut(
        task=tasks.detection(
            facts.class_names, model, size=(facts.image_shape[0], facts.image_shape[1])
        ),
        batches=partial(
            data.eval_batches,
            source,
            batch_size=recipe.eval_batch_size or recipe.batch_size,
            **_reading(recipe, source, (facts.mean, facts.std), most),
        ),
        prepare=tasks.make_prepare(facts.mean, facts.std),
    )


def _reading(
    recipe: DetectionRecipe, source: data.Source, statistics: Any, capacity: int, jitter: Any = ()
) -> dict[str, Any]:
    """The arguments of the pipeline that reads this source."""
    mean, _ = statistics
    size = data.parse_size(recipe.image_size)
    load = data.box_loader(
        source, size, capacity=capacity, fit=recipe.fit, mean=mean, jitter=jitter
    )
    return {"load": load, "workers": recipe.workers}


def _draw(
    held: HeldOut, facts: Facts, workdir: Path, observed: Observed, variables: PyTree, predict: Any
) -> None:
    from cnn_jax.analysis import detection_figures  # late: Matplotlib

    names, found = facts.class_names, observed.rows
    detection_figures.precision_recall(
        found["detections"], found["truth"], names, workdir / "precision_recall.png"
    )
    detection_figures.predictions(
        held.batches(),
        found["detections"],
        found["truth"],
        names,
        workdir / "predictions.png",
        count=SAMPLES,
    )


def _pretrained(
    recipe: DetectionRecipe, model: nn.Module, splits: Splits
) -> models.Pretrained | None:
    """The initial variables: `pretrained`, or random ones with `pretrained_backbone` in place."""
    space = models.describe(recipe.model).input_shape[:2]
    sample = jax.ShapeDtypeStruct((1, *space, splits.channels), np.float32)
    if not recipe.pretrained_backbone:
        return load_pretrained(recipe, model, sample, splits.class_names)
    if recipe.pretrained:
        raise ValueError("`pretrained` includes a backbone: leave `pretrained_backbone` out.")
    name = getattr(model, "backbone", None)
    if name is None:
        raise ValueError(
            f"`pretrained_backbone`: {recipe.model} is not built on a classification network. "
            "Leave it out."
        )
    variables = state.init_variables(model, sample, seed=recipe.seed)
    trunk = models.create(name, num_classes=None)
    own = {key: leaves["backbone"] for key, leaves in variables.items() if "backbone" in leaves}
    read = partial(pretrained_for, recipe.pretrained_backbone, name, trunk, template=own)
    loaded = read_unless_resumed(recipe, read, own)
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


def _room(splits: Splits) -> int:
    """The most boxes of an image that is evaluated, in any split: truth of one shape for all of
    them, so that their evaluation is compiled once."""
    most = 1
    for source in (splits.validation, splits.test):
        if source is not None:
            with contextlib.suppress(ValueError):  # without boxes to find: said where it is opened
                most = max(most, _survey(source).most)
    return most


# What was counted, for as long as its source lives: a split is counted, and told of, once.
_counted: weakref.WeakKeyDictionary[data.Source, data.BoxSurvey] = weakref.WeakKeyDictionary()


def _survey(source: data.Source) -> data.BoxSurvey:
    """Counts the boxes of a split before the first step, and logs why some are left out."""
    held = _counted.get(source)
    if held is None:
        held = _counted[source] = data.survey_boxes(source)
        say = _log.warning if held.left_out else _log.info
        say("%s, split %s: %s", source.name, source.split, held)
    if not held.boxes:
        raise UnlabelledError(f"{source.name}, split {source.split}, holds no usable box.")
    if held.crowds == held.boxes:
        raise ValueError(
            f"{source.name}, split {source.split}: all {held.boxes} boxes are crowds or difficult, "
            "which are neither trained on nor counted: there is nothing to learn."
        )
    return held
