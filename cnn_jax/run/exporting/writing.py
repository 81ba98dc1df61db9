"""Writes a trained network in a form that others run, and compares it with the network itself."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import cnn_jax.cpu
from cnn_jax import models
from cnn_jax.run import opening
from cnn_jax.run.exporting import (
    agreement,
    description,
    onnx_file,
    saved_model,
    stablehlo,
    tensors,
)
from cnn_jax.run.exporting.agreement import Difference
from cnn_jax.run.exporting.function import Function, Normalisation, check_batch, function_of
from cnn_jax.run.facts import Facts
from cnn_jax.run.predictor import Predictor
from cnn_jax.train import state
from cnn_jax.weights.preprocessing import IMAGENET_MEAN, IMAGENET_STD

FORMATS = {  # and the ends of their files' names
    "onnx": ".onnx",
    "stablehlo": ".stablehlo",
    "safetensors": ".safetensors",
    "savedmodel": "",
}
OPSET = 18  # of onnxruntime from 1.14 on, of February 2023
COMPARED = (1, 3)  # numbers of images that the file is tried with, if it takes any number


class Exported(NamedTuple):
    """What was written.

    Attributes:
        files: the exported file, or directory, and those beside it; the description is the last.
        difference: from the network's own outputs; None if they were not compared.
        notes: what the user should know of it.
    """

    files: tuple[Path, ...]
    difference: Difference | None
    notes: tuple[str, ...] = ()


def export(
    network: Predictor | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    format: str = "",
    normalisation: Normalisation = "inside",
    batch: int = 0,
    opset: int = OPSET,
    names: str = "",
    overwrite: bool = False,
    check: bool = True,
) -> Exported:
    """Writes a network in evaluation mode, in float32, and a description beside it (JSON).

    Images go in and class probabilities, or boxes after suppression, come out; what brings an image
    to the input's size is described. The file is run at once, and its outputs are compared with
    those of the network.

    Args:
        network: a run directory or its URL, or a network that `cnn_jax.run.open` opened.
        path: the new file; for 'savedmodel' a directory.
        format: 'onnx', 'stablehlo', 'safetensors' or 'savedmodel'; default: by the end of the name.
        normalisation: 'inside' the file, which takes uint8; or 'beside' it, in the description.
        batch: number of images that it takes at once; 0 for any number.
        opset: version of ONNX's operators.
        names: safetensors: whose names the tensors get, see `tensors.write`.
        overwrite: whether to replace what is there.
        check: whether to run the file and compare.

    Raises:
        ValueError: a setting cannot be used, a package is missing, the file exists, the network
            cannot be expressed in the format, or its outputs differ by more than
            `agreement.Difference.allowed`: then nothing is left.
    """
    path = Path(path).expanduser()
    format = _format(path, format)
    if batch < 0:
        raise ValueError(f"batch={batch}: wanted a number of images, or 0 for any.")
    found = description_of(path)
    if not overwrite:
        for place in (path, found):
            if place.exists():
                raise ValueError(f"{place} exists: give another name, or overwrite=True.")
    predictor = network if isinstance(network, Predictor) else opening.open(network)
    _check_packages(format, opset, check)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    _remove(unfinished)
    try:
        if format == "safetensors":
            files, difference, notes, content = _tensors(predictor, unfinished, names, check)
        else:
            function = function_of(predictor, normalisation=normalisation)
            if not batch:
                check_batch(function)
            with _stock():
                content = description.describe(
                    predictor, function, normalisation=normalisation, batch=batch
                )
                if format == "onnx":
                    content["opset"] = opset
                files = _write(format, function, unfinished, content, batch=batch, opset=opset)
                difference = _compared(format, function, unfinished, batch) if check else None
            notes = function.notes
        if difference is not None and not difference.fine:
            raise ValueError(
                f"{path} computes something else than the network: the largest difference is "
                f"{difference}, and {difference.allowed:.2g} is allowed. It was removed."
            )
    except BaseException:
        for file in (unfinished, unfinished.with_name(unfinished.name + ".mlir")):
            _remove(file)
        raise
    kept = []
    for file in files:
        place = path.with_name(path.name + file.name.removeprefix(unfinished.name))
        _remove(place)
        file.replace(place)
        kept.append(place)
    content |= {
        "format": format,
        "file": path.name,
        "notes": list(notes),
        "checked": None
        if difference is None
        else {
            "largest_difference": difference.largest,
            "bound": difference.allowed,
            **_versions(format),
        },
    }
    description.write(found, content)
    return Exported((*kept, found), difference, tuple(notes))


def description_of(path: Path) -> Path:
    """Where the description of an exported file is: 'net.onnx' -> 'net.onnx.json'."""
    return path.with_name(path.name + ".json")


def is_complete(path: Path) -> bool:
    """Whether an exported file is there as a whole: its description is written last."""
    return path.exists() and description_of(path).exists()


def open_network(
    name: str,
    pretrained: str = "",
    *,
    num_classes: int = 0,
    image_size: tuple[int, int] | None = None,
    seed: int = 0,
) -> Predictor:
    """A network of the registry, for any task, with published weights or random ones.

    Args:
        name: its name.
        pretrained: its weights, see `cnn_jax.models.load_pretrained`; '' for random ones.
        num_classes: default: that of the published figures.
        image_size: (height, width) of the input; default: that of the registry.
        seed: seed of random weights.

    Raises:
        ValueError: no such network, or weights that do not fit it.
    """
    known = models.describe(name)
    classes = num_classes or known.num_classes
    if pretrained and known.task == "classification" and image_size is None and not num_classes:
        return opening.published(name, pretrained)
    shape = known.input_shape
    if image_size is not None:
        if len(shape) < 3:
            raise ValueError(f"image_size: {name} takes sequences, {list(shape)}. Leave it out.")
        shape = (*shape[:-3], *image_size, shape[-1])
    low: dict[str, Any] = (
        {"score_threshold": 1e-3} if known.task == "detection" and not pretrained else {}
    )
    model = models.create(name, num_classes=classes, **low)  # or it would find nothing
    sample = jax.ShapeDtypeStruct((1, *shape), np.float32)
    variables: Any = None
    if pretrained:
        variables = models.load_pretrained(pretrained, name, model).variables
    else:
        variables = _stirred(state.init_variables(model, sample, seed=seed), seed)
    colour = shape[-1] == 3
    facts = Facts(
        task=known.task,
        model=name,
        num_classes=classes,
        class_names=tuple(map(str, range(classes))),
        image_shape=shape,
        mean=IMAGENET_MEAN if colour else (0.5,) * shape[-1],
        std=IMAGENET_STD if colour else (0.5,) * shape[-1],
    )
    kind = opening.task_named(known.task).predictor or Predictor
    return kind(model=model, variables=variables, facts=facts)


def _stirred(variables: Any, seed: int) -> Any:
    """Initial variables without those that are all 0 or all 1, which would hide differences."""
    rng = np.random.default_rng(seed)

    def stirred(path: Any, leaf: Any) -> np.ndarray:
        array = np.asarray(leaf)
        if array.size and (array == array.flat[0]).all():
            noise = rng.normal(size=array.shape, scale=0.1)
            positive = jax.tree_util.keystr(path).endswith("['var']")
            array = (array + (np.abs(noise) if positive else noise)).astype(array.dtype)
        return array

    return jax.tree_util.tree_map_with_path(stirred, variables)


def _format(path: Path, format: str) -> str:
    if format and format not in FORMATS:
        raise ValueError(f"format={format!r}: choose from {', '.join(FORMATS)}.")
    by_name = {end: name for name, end in FORMATS.items() if end}
    found = format or by_name.get(path.suffix, "")
    if not found:
        raise ValueError(f"{path} ends in none of {', '.join(by_name)}: give a format.")
    return found


def _check_packages(format: str, opset: int, check: bool) -> None:
    """Raises ValueError, before anything takes time, for a package that is not installed."""
    if format == "stablehlo":
        stablehlo.check_packages()
    elif format == "savedmodel":
        saved_model.tensorflow()
    elif format == "onnx":
        onnx_file.check_opset(opset)
        if check:
            onnx_file.library("onnxruntime")


def _write(
    format: str,
    function: Function,
    path: Path,
    content: dict[str, Any],
    *,
    batch: int,
    opset: int,
) -> list[Path]:
    if format == "stablehlo":
        return stablehlo.write(function, path, batch=batch)
    if format == "savedmodel":
        saved_model.write(function, path, batch=batch)
        return [path]
    onnx_file.write(function, path, batch=batch, opset=opset, description=content)
    return [path]


def _compared(format: str, function: Function, path: Path, batch: int) -> Difference:
    """Runs the file and the network on the same examples."""
    counts = (batch,) if batch else COMPARED
    whole = function.example(max(counts))
    examples = {f"x{count}": whole[:count] for count in counts}
    if format == "stablehlo":
        theirs = stablehlo.outputs(path, examples)
    elif format == "onnx":
        theirs = onnx_file.outputs(path, examples)
    else:
        theirs = saved_model.outputs(path, function, examples)
    with _on_cpu():
        ours = function.expected(whole)
    found = [
        agreement.differ([each[:count] for each in ours], theirs[f"x{count}"], function.boxed)
        for count in counts
    ]
    worst = max(found, key=lambda one: (one.unmatched, one.largest))
    whole_range = max(found, key=lambda one: one.values[1] - one.values[0]).values
    return worst._replace(largest=max(one.largest for one in found), values=whole_range)


def _tensors(
    predictor: Predictor, path: Path, names: str, check: bool
) -> tuple[list[Path], Difference | None, tuple[str, ...], dict[str, Any]]:
    publisher = tensors.write(predictor, path, names=names)
    same = None
    if check:
        same = Difference(0.0 if tensors.same(predictor, path, publisher) else np.inf)
    facts = predictor.facts
    content = {
        "task": facts.task,
        "model": facts.model,
        "names": publisher,
        "image_shape": list(facts.image_shape),
        "mean": list(facts.mean),
        "std": list(facts.std),
        "resize": description.fitting(predictor),
        "class_names": list(facts.class_names),
    }
    note = f"The tensors have the names of {publisher}."
    return [path], same, (note,), content


@contextlib.contextmanager
def _stock() -> Iterator[None]:
    """Within the block JAX has its own lowerings: ours call oneDNN, which is only in jaxlib."""
    with cnn_jax.cpu.enabled(False):
        yield


@contextlib.contextmanager
def _on_cpu() -> Iterator[None]:
    """Within the block programs run on the CPU, in full float32, if JAX may use one."""
    try:
        device = jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        with jax.default_matmul_precision("highest"):
            yield
        return
    with jax.default_device(device):
        yield


def _versions(format: str) -> dict[str, str]:
    if format == "stablehlo":
        return {"by": f"jax {jax.__version__} in a process without cnn_jax"}
    if format == "onnx":
        return {"by": f"onnxruntime {onnx_file.library('onnxruntime').__version__}"}
    if format == "savedmodel":
        return {"by": f"TensorFlow {saved_model.tensorflow().__version__}"}
    return {"by": "reading it back"}


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
