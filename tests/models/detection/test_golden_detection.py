"""torchvision's nine detectors, with weights and statistics drawn at random: outputs and boxes.

`golden.npz` holds what torchvision 0.29.1 (torch 2.14.1) computes from them, so that the claim is
tested without PyTorch; with PyTorch, the file itself is. To write it anew, with PyTorch:

    PYTHONPATH=. python tests/models/detection/test_golden_detection.py
"""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models import create, describe, list_models
from cnn_jax.weights.torch import export_torch, import_torch
from tests.models.drawn import draw

GOLDEN = Path(__file__).parent / "golden.npz"
COLUMNS = 6  # of the class heads
THIN = 13  # of the raw outputs, every so many boxes; the file stays small
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# size of the image, mean, deviation, and whether column 0 of the classes is the background
SETTINGS = {
    "retinanet_resnet50_fpn": ((96, 128), *IMAGENET, False),
    "retinanet_resnet50_fpn_v2": ((96, 128), *IMAGENET, False),
    "fcos_resnet50_fpn": ((96, 128), *IMAGENET, False),
    "ssd300_vgg16": ((300, 300), (0.48235, 0.45882, 0.40784), (1 / 255,) * 3, True),
    "ssdlite320_mobilenet_v3_large": ((320, 320), (0.5,) * 3, (0.5,) * 3, True),
    "fasterrcnn_resnet50_fpn": ((96, 128), *IMAGENET, True),
    "fasterrcnn_resnet50_fpn_v2": ((96, 128), *IMAGENET, True),
    "fasterrcnn_mobilenet_v3_large_fpn": ((96, 128), *IMAGENET, True),
    "fasterrcnn_mobilenet_v3_large_320_fpn": ((96, 128), *IMAGENET, True),
}
# Factors of the last layers, so that scores differ by more than roundings and are not all 0 or 1,
# and boxes stay near their anchors: of classes, of boxes.
FACTORS = {
    "retinanet_resnet50_fpn": (1.5, 0.2),
    "retinanet_resnet50_fpn_v2": (3, 0.3),
    "fcos_resnet50_fpn": (6, 6),
    "ssd300_vgg16": (0.03, 0.01),
    "ssdlite320_mobilenet_v3_large": (3, 0.2),
    "fasterrcnn_resnet50_fpn": (3, 0.2),
    "fasterrcnn_resnet50_fpn_v2": (10, 0.3),
    "fasterrcnn_mobilenet_v3_large_fpn": (6, 0.2),
    "fasterrcnn_mobilenet_v3_large_320_fpn": (6, 0.2),
}
FAST = "ssdlite320_mobilenet_v3_large"
SLOW = ("retinanet_resnet50_fpn", "fasterrcnn_mobilenet_v3_large_320_fpn")
NAMES = [
    FAST,
    *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW),
    *(
        pytest.param(name, marks=pytest.mark.exhaustive)
        for name in SETTINGS
        if name not in (FAST, *SLOW)
    ),
]

LAST = {
    "cls_logits": 0,
    "cls_score": 0,
    "classification_head.module_list": 0,
    "bbox": 1,
    "regression_head.module_list": 1,
}


def tensor(network: str, name: str, shape: tuple[int, ...]) -> np.ndarray:
    values = draw(name, shape)
    if network == FAST and name.endswith("weight") and len(shape) == 1:
        values *= 1.6  # with few residual connections, the image would get lost in the biases
    for part, which in LAST.items():
        if part in name and len(shape) > 1 and shape[0] < 200:
            return np.float32(FACTORS[network][which]) * values
    return values


def image_of(size: tuple[int, int]) -> np.ndarray:
    """Smooth, in 0..1, [1, H, W, 3]: 41 x 41 random colours and straight lines between them."""
    coarse = np.random.default_rng(1).random((41, 41, 3))
    for axis, n in enumerate(size):
        positions = np.linspace(0, 40, n)
        low = np.minimum(positions.astype(int), 39)
        part = (positions - low).reshape([-1 if i == axis else 1 for i in range(3)])
        coarse = np.take(coarse, low, axis) * (1 - part) + np.take(coarse, low + 1, axis) * part
    return coarse[None].astype(np.float32)


def ours(name: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Raw outputs of the heads, and the boxes found."""
    size, mean, std, background = SETTINGS[name]
    rules = describe(name).rules["torchvision"]
    model = create(name, num_classes=COLUMNS - background)
    x = (image_of(size) - np.float32(mean)) / np.float32(std)
    template = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), x)
    blank = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), template)
    state = {k: tensor(name, k, v.shape) for k, v in export_torch(blank, rules).items()}
    variables = import_torch(state, template, rules)
    apply = partial(model.apply, train=False, capture_intermediates=True, mutable=["intermediates"])
    outputs, seen = jax.jit(apply)(variables, x)
    if "rpn" in seen["intermediates"]:
        (heads,) = seen["intermediates"]["rpn"]["__call__"]
        objectness, deltas = (jnp.concatenate(part, 1) for part in zip(*heads, strict=True))
        raw = {"class": objectness[..., None], "box": deltas}
    else:
        boxes = "distances" if "distances" in outputs else "box_deltas"
        raw = {"class": outputs["class_logits"], "box": outputs[boxes]}
    found = jax.jit(partial(model.detect, size=size))(outputs)
    real = np.asarray(found.labels[0]) >= 0
    return (
        {key: np.asarray(value[0, ::THIN]) for key, value in raw.items()},
        {
            "boxes": np.asarray(found.boxes[0])[real],
            "scores": np.asarray(found.scores[0])[real],
            "labels": np.asarray(found.labels[0])[real] + int(background),
        },
    )


def theirs(name: str) -> dict[str, np.ndarray]:
    """The entries of the golden file for this network."""
    torch = pytest.importorskip("torch")
    detection = pytest.importorskip("torchvision.models.detection")
    size = SETTINGS[name][0]
    options = {} if name.startswith("ssd") else {"min_size": min(size), "max_size": max(size)}
    build = getattr(detection, name)
    network = build(weights=None, weights_backbone=None, num_classes=COLUMNS, **options).eval()
    state = network.state_dict()
    for key, value in state.items():
        if value.is_floating_point():
            state[key] = torch.from_numpy(tensor(name, key, tuple(value.shape)))
    network.load_state_dict(state)
    seen = {}
    if name.startswith("faster"):

        def remember(_module, _inputs, outputs):
            for key, levels, width in zip(("class", "box"), outputs, (1, 4), strict=True):
                flat = [level.permute(0, 2, 3, 1).reshape(1, -1, width) for level in levels]
                seen[key] = torch.cat(flat, 1)

        network.rpn.head.register_forward_hook(remember)
    else:

        def remember(_module, _inputs, outputs):
            seen.update({"class": outputs["cls_logits"], "box": outputs["bbox_regression"]})

        network.head.register_forward_hook(remember)
    with torch.no_grad():
        (found,) = network([torch.from_numpy(image_of(size)[0]).permute(2, 0, 1)])
    return {key: value[0, ::THIN].numpy() for key, value in seen.items()} | {
        key: found[key].numpy() for key in ("boxes", "scores", "labels")
    }


def golden(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as file:
        return {k.split("/")[1]: file[k] for k in file if k.split("/")[0] == name}


def test_all_of_torchvision_is_here():
    names = {n for n in list_models(task="detection") if "torchvision" in describe(n).rules}
    assert names == set(SETTINGS)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_and_boxes_are_torchvisions(name):
    expected = golden(name)
    raw, found = ours(name)
    for head, values in raw.items():
        scale = np.abs(expected[head]).max()
        assert expected[head].std() > 0.01
        np.testing.assert_allclose(values, expected[head], atol=1e-4 * max(1, scale))
    assert_same_boxes(found, expected)


def assert_same_boxes(found, expected):
    """One for one the same, but that of boxes with equal scores, which suppress one another in an
    order of chance, another one may stay; they are few."""
    assert len(found["scores"]) == len(expected["scores"]) > 3
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=2e-4)
    free = np.ones(len(found["scores"]), bool)
    for box, score, label in zip(
        *(expected[k] for k in ("boxes", "scores", "labels")), strict=True
    ):
        alike = free & (found["labels"] == label) & (np.abs(found["scores"] - score) < 2e-4)
        same = alike & (np.abs(found["boxes"] - box).max(1) < 0.05)
        if same.any():
            free[same.argmax()] = False
        else:
            tied = alike & (np.abs(found["scores"] - score) < 3e-6)
            assert tied.any(), (box, score, label)
    assert free.mean() < 0.1


@pytest.mark.parametrize("name", NAMES)
def test_the_golden_file_is_what_torchvision_computes(name):
    expected = golden(name)
    for key, values in theirs(name).items():
        np.testing.assert_allclose(expected[key], values, atol=1e-3, err_msg=key)


if __name__ == "__main__":
    np.savez_compressed(
        GOLDEN,
        **{f"{name}/{key}": value for name in SETTINGS for key, value in theirs(name).items()},
    )
