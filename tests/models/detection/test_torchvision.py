"""Detectors against torchvision's, on the same random weights: raw outputs, final boxes, losses."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models import create, describe
from cnn_jax.typing import Targets
from cnn_jax.weights.torch import import_torch

torch = pytest.importorskip("torch")
detection = pytest.importorskip("torchvision.models.detection")

pytestmark = pytest.mark.slow

K = 6  # columns of the one-stage heads; classes with the background of the others


def randomised(network, *, seed=0):
    """Weights that keep the scale, and statistics that are not 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    state = network.state_dict()
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            continue
        if name.endswith(("running_mean", "bias")):
            tensor.normal_(0, 0.1, generator=generator)
        elif name.endswith("running_var") or tensor.ndim == 1:
            tensor.uniform_(0.5, 1.0, generator=generator)
        else:
            tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5, generator=generator)
    network.load_state_dict(state)
    return network.eval()


def photographs(count, size, seed=0):
    """Smooth images in 0..1, [count, H, W, 3]."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((count, 9, 9, 3)).astype(np.float32)
    return np.asarray(jax.image.resize(jnp.asarray(coarse), (count, *size, 3), "cubic")).clip(0, 1)


def both(name, network, size, *, num_classes, mean, std, **overrides):
    """Our model, its variables, and images in the form of each side."""
    model = create(name, num_classes=num_classes, **overrides)
    images = photographs(2, size)
    x = (images - np.float32(mean)) / np.float32(std)
    template = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), x)
    state = {key: tensor.numpy() for key, tensor in network.state_dict().items()}
    variables = import_torch(state, template, describe(name).rules["torchvision"])
    return model, variables, x, torch_images(size)


def torch_images(size):
    return [torch.from_numpy(image).permute(2, 0, 1) for image in photographs(2, size)]


def raw(network, images):
    """What the head returns on the way."""
    seen = {}
    network.head.register_forward_hook(lambda _, __, output: seen.update(output))
    with torch.no_grad():
        found = network(images)
    return seen, found


def assert_close(ours, theirs, tolerance=1e-4):
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=tolerance * max(1, np.abs(theirs).max()))


def assert_same_detections(ours, theirs, *, label_offset=0, score=1e-4, pixels=0.05):
    """One for one the same label, score and box; equal scores may stand in another order.

    What scores as much as the last one, give or take a rounding, may be cut off on either side.
    """
    for boxes, scores, labels, wanted in zip(*map(np.asarray, ours), theirs, strict=True):
        count = int((labels >= 0).sum())
        wanted = {key: value.numpy() for key, value in wanted.items()}
        assert count == len(wanted["scores"]) > 3
        assert not (labels[count:] >= 0).any()
        free = np.ones(count, bool)
        for box, value, label in zip(
            *(wanted[k] for k in ("boxes", "scores", "labels")), strict=True
        ):
            same = free & (labels[:count] + label_offset == label)
            same &= np.abs(scores[:count] - value) < score
            same &= np.abs(boxes[:count] - box).max(1) < pixels
            if same.any():
                free[same.argmax()] = False
            else:
                assert value < wanted["scores"].min() + 2 * score, (box, value, label)
        assert free.sum() <= 2
    assert len({*wanted["labels"]}) > 1


def calibrate(network, images, layers):
    """Scales and shifts these last convolutions to outputs of a given deviation and mean."""
    for module, (deviation, mean) in layers.items():
        seen = []
        hook = module.register_forward_hook(lambda _, __, output: seen.append(output))  # noqa: B023
        with torch.no_grad():
            network(images)
            hook.remove()
            values = torch.cat([output.flatten() for output in seen])
            module.weight.mul_(deviation / values.std())
            module.bias.fill_(mean)


TARGETS = Targets(
    boxes=jnp.array(
        [
            [[10, 12, 70, 60], [40, 30, 120, 120], [0, 0, 30, 30], [0, 0, 0, 0]],
            [[5, 50, 100, 110], [60, 10, 90, 45], [0, 0, 0, 0], [0, 0, 0, 0]],
        ],
        jnp.float32,
    ),
    labels=jnp.array([[1, 3, 2, -1], [4, 0, -1, -1]], jnp.int32),
)


def torch_targets(*, label_offset=0):
    return [
        {
            "boxes": torch.from_numpy(np.array(boxes[labels >= 0])),
            "labels": torch.from_numpy(np.array(labels[labels >= 0])).long() + label_offset,
        }
        for boxes, labels in zip(np.asarray(TARGETS.boxes), np.asarray(TARGETS.labels), strict=True)
    ]


def torch_losses(network, images, *, label_offset=0):
    """In training mode, but with the running statistics: ours come from the same outputs."""
    network.train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    with torch.no_grad():
        return network(images, torch_targets(label_offset=label_offset))


def our_losses(model, outputs):
    means = jax.jit(model.losses)(outputs, TARGETS, jnp.ones(2))
    return {name: float(mean.total / mean.weight) for name, mean in means.items()}


IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
SIZE = (128, 160)


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("retinanet_resnet50_fpn", detection.retinanet_resnet50_fpn),
        ("retinanet_resnet50_fpn_v2", detection.retinanet_resnet50_fpn_v2),
        ("fcos_resnet50_fpn", detection.fcos_resnet50_fpn),
    ],
)
def test_one_stage_on_a_pyramid(name, build):
    options = {"weights": None, "weights_backbone": None, "min_size": 128, "max_size": 160}
    network = randomised(build(num_classes=K, **options))
    heads = network.head
    last = {heads.classification_head.cls_logits: (1.5, -4.0)}
    if name.startswith("retinanet"):
        last[heads.regression_head.bbox_reg] = (0.3, 0.0)
    else:
        last |= {heads.regression_head.bbox_reg: (1.0, 3.0)}
        last |= {heads.regression_head.bbox_ctrness: (1.0, 1.0)}
    calibrate(network, torch_images(SIZE), last)
    model, variables, x, images = both(name, network, SIZE, num_classes=K, **IMAGENET)
    outputs = jax.jit(partial(model.apply, train=False))(variables, x)
    seen, found = raw(network, images)
    assert_close(outputs["class_logits"], seen["cls_logits"])
    if name.startswith("retinanet"):
        assert_close(outputs["box_deltas"], seen["bbox_regression"])
    else:
        assert_close(outputs["distances"], seen["bbox_regression"])
        assert_close(outputs["centreness"], seen["bbox_ctrness"][..., 0])
    assert_same_detections(jax.jit(partial(model.detect, size=SIZE))(outputs), found)
    theirs = torch_losses(network, images)
    ours = our_losses(model, outputs)
    names = {"class": "classification", "box": "bbox_regression", "centreness": "bbox_ctrness"}
    for key, value in ours.items():
        assert value == pytest.approx(float(theirs[names[key]]), rel=1e-3), key


@pytest.mark.parametrize(
    ("name", "build", "size", "mean", "std"),
    [
        (
            "ssd300_vgg16",
            detection.ssd300_vgg16,
            (300, 300),
            (0.48235, 0.45882, 0.40784),
            (1 / 255,) * 3,
        ),
        (
            "ssdlite320_mobilenet_v3_large",
            detection.ssdlite320_mobilenet_v3_large,
            (320, 320),
            (0.5,) * 3,
            (0.5,) * 3,
        ),
    ],
)
def test_ssd(name, build, size, mean, std):
    network = randomised(build(num_classes=K, weights=None, weights_backbone=None))
    images = torch_images(size)
    for head, spread in (
        (network.head.classification_head, 1.0),
        (network.head.regression_head, 0.7),
    ):
        last = [m for m in head.modules() if isinstance(m, torch.nn.Conv2d) and m.bias is not None]
        calibrate(network, images, dict.fromkeys(last, (spread, 0.0)))
    model, variables, x, images = both(name, network, size, num_classes=K - 1, mean=mean, std=std)
    outputs = jax.jit(partial(model.apply, train=False))(variables, x)
    seen, found = raw(network, images)
    assert_close(outputs["class_logits"], seen["cls_logits"])
    assert_close(outputs["box_deltas"], seen["bbox_regression"])
    assert_same_detections(
        jax.jit(partial(model.detect, size=size))(outputs), found, label_offset=1
    )
    theirs = torch_losses(network, images, label_offset=1)
    ours = our_losses(model, outputs)
    assert ours["class"] == pytest.approx(float(theirs["classification"]), rel=1e-3)
    assert ours["box"] == pytest.approx(float(theirs["bbox_regression"]), rel=1e-3)


FASTER = {
    "fasterrcnn_resnet50_fpn": detection.fasterrcnn_resnet50_fpn,
    "fasterrcnn_resnet50_fpn_v2": detection.fasterrcnn_resnet50_fpn_v2,
    "fasterrcnn_mobilenet_v3_large_fpn": detection.fasterrcnn_mobilenet_v3_large_fpn,
    "fasterrcnn_mobilenet_v3_large_320_fpn": detection.fasterrcnn_mobilenet_v3_large_320_fpn,
}


def faster(name, **options):
    """torchvision's network, random, with outputs of a size that leaves something to be found."""
    options = {
        "weights": None,
        "weights_backbone": None,
        "min_size": 128,
        "max_size": 160,
    } | options
    network = randomised(FASTER[name](num_classes=K, **options))
    # in the order of the network: what comes later depends on what comes before
    images = torch_images(SIZE)
    calibrate(network, images, {network.rpn.head.cls_logits: (1.5, 0.0)})
    calibrate(network, images, {network.rpn.head.bbox_pred: (0.3, 0.0)})
    predictor = network.roi_heads.box_predictor
    calibrate(network, images, {predictor.cls_score: (1.5, 0.0)})
    calibrate(network, images, {predictor.bbox_pred: (0.7, 0.0)})
    return network, images


@pytest.mark.parametrize("name", FASTER)
def test_faster_rcnn(name):
    network, images = faster(name)
    model, variables, x, _ = both(name, network, SIZE, num_classes=K - 1, **IMAGENET)
    seen = {}
    network.rpn.head.register_forward_hook(lambda _, __, out: seen.update(rpn=out))
    network.rpn.register_forward_hook(lambda _, __, out: seen.update(proposals=out[0]))
    network.roi_heads.box_predictor.register_forward_hook(
        lambda _, __, out: seen.update(logits=out[0], deltas=out[1])
    )
    with torch.no_grad():
        found = network(images)
    outputs, state = jax.jit(
        partial(model.apply, train=False, capture_intermediates=True, mutable=["intermediates"])
    )(variables, x)
    (heads,) = state["intermediates"]["rpn"]["__call__"]
    for (objectness, deltas), logits, boxes in zip(heads, *seen["rpn"], strict=True):
        assert_close(objectness, logits.permute(0, 2, 3, 1).flatten(1))
        assert_close(deltas, boxes.permute(0, 2, 3, 1).reshape(2, -1, 4))
    first = 0
    scale = {key: max(1, float(seen[key].abs().max())) for key in ("logits", "deltas")}
    for b, theirs in enumerate(seen["proposals"]):
        count = len(theirs)
        assert abs(int(outputs["valid"][b].sum()) - count) <= 1
        ours = np.asarray(outputs["proposals"][b])[np.asarray(outputs["valid"][b])]
        distance = np.abs(ours[:, None] - theirs.numpy()).max(-1)
        same = distance.min(1) < 0.05  # a rounding may decide which of two overlapping boxes stays
        assert same.mean() > 0.99
        index = first + distance.argmin(1)[same]
        kept = np.flatnonzero(same)
        for ours, key in (("class_logits", "logits"), ("box_deltas", "deltas")):
            values = np.asarray(outputs[ours][b][kept]).reshape(len(kept), -1)
            np.testing.assert_allclose(
                values, seen[key].numpy()[index], atol=1e-3 * scale[key]
            )  # the boxes differ by roundings already
            close = np.abs(values - seen[key].numpy()[index]).max(1) < 1e-4 * scale[key]
            assert close.mean() > 0.98
        first += count
    assert_same_detections(
        jax.jit(partial(model.detect, size=SIZE))(outputs), found, label_offset=1, score=2e-4
    )


@pytest.mark.parametrize("name", FASTER)
def test_losses_of_faster_rcnn(name):
    """Everything is drawn, so that chance has no part; BatchNorm by the batch, on both sides."""
    network, images = faster(
        name,
        rpn_batch_size_per_image=12_000,
        rpn_pre_nms_top_n_train=300,
        rpn_post_nms_top_n_train=100,
        box_batch_size_per_image=500,
    )
    sizes = {"anchors_drawn": 12_000, "candidates": (300, 300), "proposals": (100, 100)}
    model, variables, x, _ = both(
        name, network, SIZE, num_classes=K - 1, **IMAGENET, **sizes, proposals_drawn=500
    )
    network.train()
    with torch.no_grad():
        theirs = network(images, torch_targets(label_offset=1))
    outputs, _ = jax.jit(partial(model.apply, train=True, mutable=["batch_stats"]))(
        variables, x, targets=TARGETS, rngs={"dropout": jax.random.key(0)}
    )
    ours = our_losses(model, outputs)
    names = {
        "objectness": "loss_objectness",
        "proposal": "loss_rpn_box_reg",
        "class": "loss_classifier",
        "box": "loss_box_reg",
    }
    for key, other in names.items():
        assert ours[key] == pytest.approx(float(theirs[other]), rel=1e-3), key
