"""Looks inside a network: its layers, and what they compute from an image.

    python -m experiments.inside --model=resnet50
    python -m experiments.inside --model=resnet18 --times
    python -m experiments.inside digit.png --run=runs/DATE-resnet8-digits --output=inside

Without an image: the table of layers with their outputs, parameters, multiply-adds, receptive
fields and, with --times, their shares of the time. With images, and weights as for
`experiments.predict`: the first filters, the feature maps and attributions of the prediction.
"""

from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from cnn_jax import models, run
from cnn_jax.analysis import attribution, cam, feature_figures, figure_files, figures, summary
from cnn_jax.analysis.layer_time import layer_seconds
from cnn_jax.analysis.receptive_field import receptive_fields
from cnn_jax.stores import local_path
from experiments import entry, network_flags, predict

FLAGS = flags.FLAGS

TIMES = flags.DEFINE_bool("times", False, "Also time the layers, each by itself.")
BATCH = flags.DEFINE_integer("batch", 1, "Batch size for --times.", lower_bound=1)
LAYERS = flags.DEFINE_list(
    "layers", [], "Layers whose feature maps are drawn; empty: the first of each size."
)


def table(name: str, *, timed: int = 0) -> None:
    """Prints the layers of a network of the registry.

    Args:
        name: its name.
        timed: batch size to time the layers with; 0: they are not timed.
    """
    known = models.describe(name)
    model = models.create(name, num_classes=known.num_classes)
    layers = summary.summarise(model, known.input_shape)
    seconds = None
    if timed:
        x = jnp.zeros((timed, *known.input_shape))
        variables = jax.jit(lambda x: model.init(jax.random.key(0), x, train=False))(x)
        seconds = layer_seconds(model, variables, x)
    print(summary.text(layers, seconds=seconds, width=max(entry.CONSOLE.width, 110)))
    _print_fields(name, known.input_shape)


def _print_fields(name: str, input_shape: tuple[int, ...]) -> None:
    """Prints the receptive fields of the stages, and their strides."""
    backbone = models.create(name, num_classes=None)
    fields = receptive_fields(backbone, rank=len(input_shape) - 1, channels=input_shape[-1])
    print("receptive fields of the stages, in pixels of the input:")
    for layer, field in fields.items():
        if "/" not in layer and field.size is not None:
            print(f"  {layer:<16} {field.size:>5}, one every {field.stride}")


def draw(predictor: run.Predictor, paths: list[str], output: Path, layers: list[str]) -> None:
    """Draws filters, feature maps and attributions of each image.

    Args:
        predictor: a network for classification.
        paths: the images.
        output: directory for the figures.
        layers: layers whose feature maps are drawn; [] for the first of each size.
    """
    if not isinstance(predictor, run.ClassPredictor):
        raise ValueError(
            f"{predictor.place} is a run of {predictor.facts.task}: give one of classification."
        )
    output.mkdir(parents=True, exist_ok=True)
    figures.first_filters(predictor.variables["params"], output / "filters.png")
    model, variables = predictor.model, predictor.variables
    names = figure_files.distinct(paths)
    figure_files.check_apart(paths, names, output, ("_attributions.png", "_activations.png"))
    for path, name in zip(paths, names, strict=True):
        x = jnp.asarray(predictor.preprocess(path))[None]
        scores = np.asarray(model.apply(variables, x, train=False))[0]
        said = predictor.facts.class_names[int(scores.argmax())]
        maps = {
            "gradient": attribution.gradient(model, variables, x),
            "integrated gradients": attribution.integrated_gradients(model, variables, x),
        }
        try:
            maps["Grad-CAM"] = cam.grad_cam(model, variables, x)
        except ValueError as error:  # such as of a network without a layer in space
            entry.say(f"{path}: without Grad-CAM: {error}")
        if (guided := _guided(model, variables, x)) is not None:
            maps["guided"] = guided
        shown = np.asarray(predictor.shown(np.asarray(x[0])), np.float32) / 255
        each = {name: np.asarray(value[0]) for name, value in maps.items()}
        drawn = output / figure_files.named_after(name, "_attributions.png")
        feature_figures.attributions(shown, each, drawn, title=said)
        chosen = layers or _first_of_each_size(model, variables, x)
        features = attribution.features(model, variables, x, layers=chosen)
        if not layers:
            features = _by_size(features, attribution.max_pools(model, variables, x))
        drawn = output / figure_files.named_after(name, "_activations.png")
        feature_figures.activations(features, drawn)
        entry.say(f"{path}: {said}; drawn in {output}")


def _by_size(layers: dict[str, jax.Array], pools: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Layers and the first pooling of each size, from fine to coarse; of one size the pooling
    first, which the layer comes after."""
    first: dict[tuple[int, ...], str] = {}
    for name, value in pools.items():
        first.setdefault(value.shape[1:-1], name)
    every = {name: pools[name] for name in first.values()} | layers
    return dict(sorted(every.items(), key=lambda each: -np.prod(each[1].shape[1:-1])))


def _guided(model: nn.Module, variables, x: jax.Array) -> jax.Array | None:
    """Guided backpropagation; None for a network without ReLUs."""
    try:
        return attribution.guided(model, variables, x)
    except ValueError:
        return None


def _first_of_each_size(model: nn.Module, variables, x: jax.Array) -> list[str]:
    shapes = cam.layer_shapes(model, variables, x, train=False)
    found: dict[tuple[int, ...], str] = {}
    for name, shape in shapes.items():
        if len(shape) == x.ndim and min(shape[1:-1]) > 1:
            found.setdefault(shape[1:-1], name)
    return list(found.values())


def main(paths: list[str]) -> int:
    if paths:
        if not predict.OUTPUT.value:
            raise ValueError("No directory for the figures is given: --output=DIRECTORY.")
        predictor = network_flags.opened(
            place=FLAGS.run, model=FLAGS.model, pretrained=FLAGS.pretrained, classes=FLAGS.classes
        )
        draw(predictor, paths, local_path(predict.OUTPUT.value), LAYERS.value)
    elif FLAGS.model:
        table(FLAGS.model, timed=BATCH.value if TIMES.value else 0)
    else:
        raise ValueError("Give a network, --model=NAME, or images with --run or --pretrained.")
    return 0


if __name__ == "__main__":
    entry.launch(main, positional="IMAGE")
