"""The page's contents from a run: its network, the checkpoints that it kept, and test images."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from cnn_jax import run
from cnn_jax.run import directory as directories
from cnn_jax.run import evaluated_data, resuming, saved
from cnn_jax.run.network import create_model
from cnn_jax.run.opening import task_named
from cnn_jax.run.predictor import ClassPredictor
from cnn_jax.train.state import init_variables
from experiments.concepts.touch import contents, golden, packing
from experiments.concepts.touch.layers import Layer, UnknownLayer
from experiments.concepts.touch.training import Snapshot

WITH_SNAPSHOTS, LARGEST = 100_000, 300_000  # parameters
IMAGES, IMAGE_BYTES = 100, 60_000  # examples in the page, and room for them
ROOM = 660_000  # bytes of weights as text, beside the program and the examples


def contents_of(place: str, *, say: contents.Say) -> tuple[dict[str, Any], list[Layer], np.ndarray]:
    """The page of a run.

    Args:
        place: a run directory, or its URL.
        say: tells what is left out, and why.

    Returns:
        (contents of the page as JSON, its layers, golden images [N, H, W, C]).

    Raises:
        ValueError: it is no run of a classifier, or the page does not know its layers, or it is
            too large.
        CheckpointError: its checkpoint is damaged.
    """
    predictor = run.open(place, checkpoint="last")
    if not isinstance(predictor, ClassPredictor) or predictor.facts.task != "classification":
        raise ValueError(
            f"{place} is a run of {predictor.facts.task}, and the page shows networks that name "
            "one class for an image or a sequence: give a run of classification."
        )
    facts, recipe = predictor.facts, predictor.recipe
    assert recipe is not None
    count = sum(int(np.size(leaf)) for leaf in jax.tree.leaves(predictor.variables["params"]))
    if count > LARGEST:
        raise ValueError(
            f"{place} has a network of {count:,} parameters, and a page holds {LARGEST:,} at most: "
            "give a run of a smaller one, such as --model=resnet8."
        )
    model = create_model(
        facts.model, dataclasses.replace(recipe, dtype="float32", remat=False),
        num_classes=facts.num_classes,
    )  # fmt: skip
    shape = tuple(facts.image_shape)
    moments = [Snapshot(predictor.step, predictor.variables)]
    if count <= WITH_SNAPSHOTS:
        moments = _earlier(place, predictor, model, 5 * count // 2) + moments
    mean, std = facts.mean or 0.0, facts.std or 1.0
    examples = _examples(predictor, say)
    judge = None
    if examples is not None:
        raw, labels = examples
        judge = contents.accuracy(_scaled(raw).reshape(len(raw), *_cube(shape)), labels)
    try:
        net, last = contents.network(model, moments, shape, mean=mean, std=std, judge=judge)
    except UnknownLayer as error:
        raise ValueError(f"{place}: {error}") from error
    images = _golden_images(shape, None if examples is None else _scaled(examples[0]))
    _check(predictor, last, images, shape)
    made: dict[str, Any] = {
        "net": net,
        "classes": list(facts.class_names) or [str(k) for k in range(facts.num_classes)],
        "check": contents.agreement(last, images[: 4 if images[0].size < 2000 else 1]),
        "source": {
            "kind": "run",
            "parameters": count,
            "steps": predictor.step,
        },
    }
    if examples is not None:
        raw, labels = examples
        kind = "images" if raw.dtype == np.uint8 else "values"
        made["tests"] = {
            "n": len(labels),
            kind: packing.numbers(raw, "u1" if kind == "images" else "<f4"),
            "labels": packing.numbers(labels, "<u2"),
        }
    pixels = int(np.prod(_cube(shape)[:2]))
    if 1 < pixels < 2**16:
        order = np.random.default_rng(0).permutation(pixels)
        made["order"] = packing.numbers(order, "<u2")
    return made, last, images


def _earlier(place: str, predictor: ClassPredictor, model: Any, size: int) -> list[Snapshot]:
    """The network before the first update, where it can be told, and its earlier checkpoints."""
    recipe, facts = predictor.recipe, predictor.facts
    assert recipe is not None
    room = max(0, ROOM // max(1, size) - 1)
    with directories.readable(place) as directory:
        found = directory / resuming.CHECKPOINTS
        steps = sorted(int(each.name) for each in found.iterdir() if each.name.isdecimal())
    earlier = [step for step in steps if step < predictor.step]
    moments = []
    if not recipe.pretrained and not recipe.continue_run and room:
        image = jax.ShapeDtypeStruct((1, *facts.image_shape), np.float32)
        moments.append(Snapshot(0, init_variables(model, image, seed=recipe.seed)))
        room -= 1
    for step in earlier[:room]:
        moments.append(
            Snapshot(step, saved.read_run(place, step).variables(averaged=predictor.averaged))
        )
    return moments


def _examples(predictor: ClassPredictor, say: contents.Say) -> tuple[np.ndarray, np.ndarray] | None:
    """Test examples as they are stored, and their labels; None if they cannot be read here."""
    size = int(np.prod(predictor.facts.image_shape))
    try:
        task = task_named(predictor.facts.task)
        recipe = evaluated_data.settings_of(predictor, task, "", "", {})
        source, held, _ = evaluated_data.held_out(predictor, task, recipe, predictor.model)
        batches = held.batches(process_index=0, process_count=1)
        if list(source.class_names) != list(predictor.facts.class_names):
            raise ValueError("the data have other classes than the network")
        width = 1 if source.load is None else 4
        count = max(1, min(IMAGES, IMAGE_BYTES // (width * size), batches.examples))
        rows = np.linspace(0, batches.examples - 1, count).astype(int)
        batch = batches.at(rows)
        raw, labels = np.asarray(batch["image"]), np.asarray(batch["label"])
        shown = np.asarray(held.prepare(dict(batch))["image"])
        if not np.allclose(shown, _normalised(predictor, raw), atol=1e-4):
            raise ValueError("they are prepared in a way that the page does not know")
        return (raw if raw.dtype == np.uint8 else raw.astype(np.float32)), labels.astype(np.int64)
    except (ValueError, OSError, KeyError) as error:
        why = " ".join(str(error).split())
        say(f"The page has no examples, as the run's data cannot be read here ({why[:200]}).")
        return None


def _scaled(raw: np.ndarray) -> np.ndarray:
    return raw.astype(np.float32) / (255 if raw.dtype == np.uint8 else 1)


def _normalised(predictor: ClassPredictor, raw: np.ndarray) -> np.ndarray:
    facts = predictor.facts
    mean, std = np.asarray(facts.mean or 0.0), np.asarray(facts.std or 1.0)
    return (_scaled(raw) - mean) / std


def _cube(shape: Sequence[int]) -> tuple[int, int, int]:
    height, width, channels = (1, *shape) if len(shape) == 2 else tuple(shape)
    return height, width, channels


def _golden_images(shape: tuple[int, ...], examples: np.ndarray | None) -> np.ndarray:
    """[20, H, W, C]: examples, or where there are none smooth random images."""
    cube = _cube(shape)
    if examples is not None and len(examples):
        return np.resize(examples, (contents.GOLDEN, *cube)).astype(np.float32)
    coarse = np.random.default_rng(0).random((contents.GOLDEN, 4, 4, cube[2]))
    rows, columns = (np.arange(n) * 4 // n for n in cube[:2])
    return coarse[:, rows][:, :, columns].astype(np.float32)


def _check(
    predictor: ClassPredictor, last: Sequence[Layer], images: np.ndarray, shape: tuple[int, ...]
) -> None:
    """Raises ValueError if the layers do not give what the network gives: a fault of ours."""
    facts = predictor.facts
    mean, std = np.asarray(facts.mean or 0.0), np.asarray(facts.std or 1.0)
    few = images[:4].reshape(-1, *shape)
    model: Callable[..., Any] = predictor.apply
    want = np.asarray(model(((few - mean) / std).astype(np.float32)), np.float32)
    got = golden.logits(last, images[:4]).reshape(want.shape)
    off = float(np.abs(got - want).max() / max(1e-6, np.abs(want).max()))
    if not off < 0.02:  # half precision costs a few thousandths
        raise ValueError(
            f"{predictor.place}: the page's layers differ from the network by {off:.0%} of its "
            "largest output, so that no page is written: its weights do not fit half precision."
        )
