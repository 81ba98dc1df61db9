"""What the page holds: networks with their snapshots, examples, and the findings of the lesson."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cnn_jax.typing import Network
from experiments.concepts.touch import data, golden, networks, packing, reading, training
from experiments.concepts.touch.layers import Layer
from experiments.concepts.touch.training import Snapshot, Trained

GOLDEN = 20  # examples whose activations are kept beside the page
CURVES = 60  # curves in the page
SCENES_TESTED = 200

Say = Callable[[str], None]


def network(
    model: Network,
    snapshots: Sequence[Snapshot],
    image_shape: tuple[int, ...],
    *,
    mean: Any = 0.0,
    std: Any = 1.0,
    judge: Callable[[Sequence[Layer]], float] | None = None,
) -> tuple[dict[str, Any], list[Layer]]:
    """A network as JSON, and its layers at the end of the training as the page has them.

    Args:
        model: the network.
        snapshots: moments of its training.
        image_shape: (H, W, C) or (T, C).
        mean, std: normalisation of pixels in 0..1, which becomes the first layer.
        judge: layers -> accuracy, for each snapshot.
    """
    moments: list[dict[str, Any]] = []
    for snapshot in snapshots:
        last = packing.rounded(
            reading.read(model, snapshot.variables, image_shape, mean=mean, std=std)
        )
        moment: dict[str, Any] = {"step": snapshot.step, **packing.weights(last)}
        if judge is not None:
            moment["accuracy"] = round(judge(last), 4)
        moments.append(moment)
    return {"layers": packing.described(last), "snapshots": moments}, last


def agreement(last: Sequence[Layer], images: np.ndarray) -> dict[str, str]:
    """A few images with the logits that JAX computes, for the page to compare its own with."""
    return {
        "images": packing.numbers(images, "<f4"),
        "logits": packing.numbers(golden.logits(last, images), "<f4"),
    }


def accuracy(images: np.ndarray, labels: np.ndarray) -> Callable[[Sequence[Layer]], float]:
    """layers -> share of the images that they name."""

    def judge(given: Sequence[Layer]) -> float:
        return float((golden.logits(given, images).argmax(-1) == labels).mean())

    return judge


def write_golden(path: Path, last: Sequence[Layer], images: np.ndarray) -> Path:
    """Writes what every layer gives for some images, as JAX computes it: `image`, `layer0`, ..."""
    made = {f"layer{i}": a for i, a in enumerate(golden.activations(last, images))}
    np.savez_compressed(path, image=images, **made)  # type: ignore[arg-type]
    return path


def findings(directory: Path) -> dict[str, Any] | None:
    """The sections of the lesson in `directory`, without what the page does not show.

    Returns:
        {'sections': ...}; None if the lesson has not been measured there.

    Raises:
        ValueError: the file is not what it should be.
    """
    path = directory / "findings.json"
    if not path.is_file():
        return None
    try:
        sections = json.loads(path.read_text(encoding="utf-8"))["sections"]
        kept = ("number", "name", "title", "guess", "expectations")
        return {
            "sections": {
                name: {key: section[key] for key in kept} for name, section in sections.items()
            }
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} cannot be read ({type(error).__name__}: {error}): measure the lesson again, "
            "python -m experiments.concepts --all --quick."
        ) from error


def own(*, variants: bool, steps: Mapping[str, int] | None = None, say: Say = print):
    """Trains the networks of the page.

    Args:
        variants: whether to train the networks that the switches are compared with.
        steps: updates of 'digits', 'curves' and 'scenes', where they differ from `training`'s.
        say: tells what is being done.

    Returns:
        (contents of the page as JSON, the layers of the classifier, its golden images).
    """
    steps = {
        "digits": training.DIGIT_STEPS, "curves": training.CURVE_STEPS,
        "scenes": training.SCENE_STEPS, **(steps or {}),
    }  # fmt: skip
    small, labels = data.small_digits("test")
    images = data.canvases(small)
    shape = (data.SIDE, data.SIDE, 1)
    judge = accuracy(images, labels)
    trained = training.train_digits(steps=steps["digits"])
    net, last = network(trained.model, trained.snapshots, shape, judge=judge)
    right = net["snapshots"][-1]["accuracy"]
    say(f"Digits: {100 * right:.1f} % of {len(labels)} test digits after {trained.seconds:.0f} s")
    order = np.random.default_rng(0).permutation(data.SIDE**2)
    made: dict[str, Any] = {
        "net": net,
        "classes": [str(k) for k in range(10)],
        "order": packing.numbers(order, "<u2"),
        "tests": {
            "n": len(labels),
            "small": packing.numbers(small, "u1"),
            "labels": packing.numbers(labels, "u1"),
            "enlarging": data.enlarging().tolist(),
            "level": data.LEVEL,
            "gain": data.GAIN,
            "first": _nice(last, images, labels),
        },
        "check": agreement(last, images[:GOLDEN]),
        "source": {
            "kind": "own",
            "examples": len(data.small_digits("train")[1]),
            "seconds": round(trained.seconds),
            "parameters": packing.parameters(last),
            "accuracy": right,
            "tested": len(labels),
        },
        "curve": _curves(steps["curves"], say),
        "scene": _scene(steps["scenes"], say),
    }
    if variants:
        made["variants"] = _variants(steps["digits"], order, images, labels, say)
    return made, last, images[:GOLDEN]


def _nice(last: Sequence[Layer], images: np.ndarray, labels: np.ndarray) -> int:
    """The first example that the network names rightly, to begin with: a 3, if there is one."""
    right = golden.logits(last, images).argmax(-1) == labels
    threes = np.flatnonzero(right & (labels == 3))
    return int(threes[0]) if len(threes) else 0


def _variants(
    steps: int, order: np.ndarray, images: np.ndarray, labels: np.ndarray, say: Say
) -> dict[str, Any]:
    """Networks that were trained with a change from the beginning, by the name of its switch."""
    shape = images.shape[1:]
    changes: dict[str, dict[str, Any]] = {
        "act": {"act": False}, "shortcut": {"shortcut": False},
        "stride": {"subsampling": "stride"}, "shuffle": {"shuffled": order},
    }  # fmt: skip
    made = {}
    for name, change in changes.items():
        began = time.monotonic()
        trained = training.train_digits(steps=steps, **change)
        seen = images.reshape(len(images), -1)[:, order].reshape(images.shape)
        judge = accuracy(seen if name == "shuffle" else images, labels)
        net, _ = network(trained.model, trained.snapshots[-1:], shape, judge=judge)
        snapshot = net["snapshots"][0]
        say(
            f"Trained with the change {name!r}: {100 * snapshot['accuracy']:.1f} % after "
            f"{time.monotonic() - began:.0f} s"
        )
        made[name] = {"net": {"layers": net["layers"]}, "snapshot": snapshot, "step": steps}
    return made


def _curves(steps: int, say: Say) -> dict[str, Any]:
    test = data.curves("test")
    judge = accuracy(test["image"][:, None], test["label"])
    nets = {}
    ways: tuple[networks.Subsampling, ...] = ("none", "stride", "mean", "pool")
    for way in ways:
        trained: Trained = training.train_curves(way, steps=steps)
        net, _ = network(trained.model, trained.snapshots[-1:], (40, 1), judge=judge)
        snapshot = net["snapshots"][0]
        say(f"Curves, subsampling {way!r}: {100 * snapshot['accuracy']:.1f} % of 1,000")
        nets[way] = {
            "net": {"layers": net["layers"]},
            "snapshot": snapshot,
            "accuracy": snapshot["accuracy"],
        }
    return {
        "nets": nets,
        "samples": packing.numbers(test["image"][:CURVES], "<f4"),
        "labels": packing.numbers(test["label"][:CURVES], "u1"),
    }


def _scene(steps: int, say: Say) -> dict[str, Any]:
    trained = training.train_scenes(steps=steps)
    net, last = network(trained.model, trained.snapshots[-1:], (data.SCENE, data.SCENE, 1))
    small, labels = data.small_digits("test")
    digits = data.inked(data.enlarged(small.astype(np.float32) / 16))
    rng = np.random.default_rng(1)
    drawn = [data.scene(rng, digits, labels) for _ in range(SCENES_TESTED)]
    found = golden.logits(last, np.stack([image for image, _ in drawn])).argmax(-1)
    wanted = np.stack([training.halved(classes) for _, classes in drawn])
    ink = float((found == wanted)[wanted > 0].mean())
    say(f"Scenes: {100 * ink:.1f} % of the ink has its class after {trained.seconds:.0f} s")
    return {
        "net": {"layers": net["layers"]},
        "snapshot": net["snapshots"][0],
        "side": data.SCENE,
        "parameters": packing.parameters(last),
        "ink": round(ink, 4),
        "tested": SCENES_TESTED,
    }
