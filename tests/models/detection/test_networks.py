"""Every detector by its shapes alone, and a small Faster R-CNN that learns."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_jax.models import create, describe, list_models
from cnn_jax.models.detection.region_proposals import propose
from cnn_jax.tasks import detection
from cnn_jax.train import layout, state, step
from cnn_jax.typing import Targets
from cnn_jax.weights.torch import torch_shapes

NAMES = list_models(task="detection")
PLAIN_SIZES = {"ssd300_vgg16": (300, 300)}


# One of each design on every stack; the others are larger, or differ in a table.
QUICK = ("detector_small", "fcos_resnet50_fpn", "fasterrcnn_mobilenet_v3_large_320_fpn")


def shapes(name, num_classes):
    """The network, its input, and by shapes alone what it gives and its variables."""
    model = create(name, num_classes=num_classes)
    x = jax.ShapeDtypeStruct((2, *PLAIN_SIZES.get(name, (96, 128)), 3), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    return model, x, *jax.eval_shape(partial(model.init_with_output, train=False), key, x)


def test_all_of_torchvision_is_here():
    published = {name for name in NAMES if "torchvision" in describe(name).rules}
    assert published == {
        "fasterrcnn_mobilenet_v3_large_320_fpn",
        "fasterrcnn_mobilenet_v3_large_fpn",
        "fasterrcnn_resnet50_fpn",
        "fasterrcnn_resnet50_fpn_v2",
        "fcos_resnet50_fpn",
        "retinanet_resnet50_fpn",
        "retinanet_resnet50_fpn_v2",
        "ssd300_vgg16",
        "ssdlite320_mobilenet_v3_large",
    }


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=[] if each in QUICK else pytest.mark.once) for each in NAMES]
)
def test_parameters_boxes_and_stages(name):
    described = describe(name)
    model, x, outputs, variables = shapes(name, described.num_classes)
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    if described.params is not None:
        assert count == described.params
    if rules := described.rules.get("torchvision"):
        assert len(torch_shapes(variables, rules)) > 50
    found = jax.eval_shape(partial(model.detect, size=x.shape[1:3]), outputs)
    assert found.boxes.shape == (2, model.max_detections, 4)
    assert found.scores.shape == found.labels.shape == (2, model.max_detections)
    stages = shapes(name, None)[2]
    heights = [stage.shape[1] for stage in stages.values()]
    assert heights == sorted(heights, reverse=True)


def two_objects(size):
    """Images [B, 64, 64, 3] with a red and a blue rectangle, and the batch of their boxes."""
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 0.2, (size, 64, 64, 3)).astype(np.float32)
    boxes, labels = np.zeros((size, 4, 4), np.float32), np.full((size, 4), -1, np.int32)
    for b in range(size):
        for i in range(2):
            left, top = rng.integers(0, 12), rng.integers(0, 36)
            left += 32 * i
            width, height = rng.integers(14, 20, 2)
            label = int(rng.integers(0, 2))
            image[b, top : top + height, left : left + width, 2 * label] = 1
            boxes[b, i], labels[b, i] = (left, top, left + width, top + height), label
    return {
        "image": image,
        "boxes": boxes,
        "labels": labels,
        "crowd": np.zeros((size, 4), np.float32),
        "factor": np.ones((size, 2), np.float32),
        "extent": np.full((size, 2), 64, np.float32),
        "mask": np.ones(size, np.float32),
    }


@pytest.mark.exhaustive
def test_faster_rcnn_learns_through_the_train_step():
    model = create(
        "fasterrcnn_resnet50_fpn",
        num_classes=2,
        backbone="resnet20",
        stages=("layer2", "layer3"),
        strides=(2, 4),
        sizes=((16,), (32,), (48,)),
        roi_levels=2,
        features=32,
        candidates=(60, 60),
        proposals=(40, 40),
        anchors_drawn=64,
        proposals_drawn=32,
    )
    batch = two_objects(8)
    task = detection.detection(("red", "blue"), model, size=(64, 64))
    tx = optax.adam(1e-3)
    image = jax.ShapeDtypeStruct(batch["image"].shape, np.float32)
    placed = layout.jit_layout(jax.devices()[:1])
    now = placed.replicate(state.create_state(model, tx, image, seed=0))
    train_step = placed.compile_train(step.make_train_step(model, task, tx, seed=0))
    for _ in range(60):
        now, metrics = train_step(now, placed.shard(batch))
    assert {"objectness", "proposal", "class", "box"} <= metrics.keys()
    eval_step = placed.compile_eval(step.make_eval_step(model, task))
    figures = task.report(jax.device_get(eval_step(now, placed.shard(batch))))
    assert figures["ap50"] > 0.9


def test_faster_rcnn_wants_targets_in_training():
    model, x, _, variables = shapes("fasterrcnn_mobilenet_v3_large_320_fpn", 2)
    with pytest.raises(ValueError, match="give targets in training"):
        jax.eval_shape(partial(model.apply, train=True, mutable=["batch_stats"]), variables, x)
    targets = Targets(
        jax.ShapeDtypeStruct((2, 3, 4), jnp.float32), jax.ShapeDtypeStruct((2, 3), jnp.int32)
    )
    key = jax.eval_shape(lambda: jax.random.key(0))
    outputs, _ = jax.eval_shape(
        lambda variables, x, targets, key: model.apply(
            variables,
            x,
            train=True,
            targets=targets,
            rngs={"dropout": key},
            mutable=["batch_stats"],
        ),
        variables,
        x,
        targets,
        key,
    )
    assert outputs["class_logits"].shape == (2, model.proposals_drawn, 3)
    assert outputs["objectness"].shape == (2, model.anchors_drawn)


def test_fewer_boxes_than_proposals_asked_for_are_padding():
    anchors = [jnp.array([[0, 0, 8, 8], [4, 4, 12, 12], [20, 20, 28, 28]], jnp.float32)]
    heads = [(jnp.array([[2.0, -1.0, 1.0]]), jnp.zeros((1, 3, 4)))]
    settings = {"candidates": 10, "count": 6, "iou_threshold": 0.7}
    found = propose(heads, anchors, (24, 24), **settings, score_threshold=0.5)
    assert found.valid.tolist() == [[True, True, False, False, False, False]]
    np.testing.assert_allclose(found.boxes[0, :2], [[0, 0, 8, 8], [20, 20, 24, 24]])
