"""Detection through the step: whatever the boxes are, however they are spread over devices."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_jax.models import create
from cnn_jax.models.detection import centres, single_level
from cnn_jax.tasks import detection
from cnn_jax.train import evaluation, layout, state, step

NAMES = ("a", "b", "c")
SIZE = (32, 32)
N = 5


def make_batch(rng, size, *, valid=None, most=N):
    """Pictures of noise with bright rectangles; of each class another colour."""
    image = rng.integers(0, 60, (size, *SIZE, 3), dtype=np.uint8)
    boxes = np.zeros((size, N, 4), np.float32)
    labels = np.full((size, N), -1, np.int32)
    for i in range(size):
        for j in range(rng.integers(0, most + 1)):
            left, top = rng.integers(0, 20, 2)
            width, height = rng.integers(6, 12, 2)
            label = rng.integers(0, len(NAMES))
            image[i, top : top + height, left : left + width, label] = 255
            boxes[i, j], labels[i, j] = [left, top, left + width, top + height], label
    return {
        "image": image,
        "boxes": boxes,
        "labels": labels,
        "crowd": np.zeros((size, N), np.float32),
        "factor": np.ones((size, 2), np.float32),
        "extent": np.full((size, 2), SIZE, np.float32),
        "mask": (np.arange(size) < (size if valid is None else valid)).astype(np.float32),
    }


class TinyDetector(single_level.SingleLevelDetector):
    """The losses and the boxes of `detector_small` on four layers, which compile in no time."""

    @nn.compact
    def __call__(self, x, *, train):
        for i in (1, 2):
            x = nn.Conv(12, (3, 3), strides=2, name=f"conv{i}")(x)
            norm = nn.BatchNorm(
                use_running_average=not train, axis_name=self.axis_name, name=f"bn{i}"
            )
            x = nn.relu(norm(x))
        logits = nn.Conv(self.num_classes, (3, 3), name="logits")(x)
        sides = nn.Conv(4, (3, 3), name="sides")(x)
        batch, height, width, _ = x.shape
        return {
            "class_logits": logits.reshape(batch, -1, self.num_classes),
            "distances": 4 * jnp.exp(sides).reshape(batch, -1, 4),
            "points": centres.centres(height, width, 4),
            "strides": jnp.full(height * width, 4.0),
        }


def small_model():
    return TinyDetector(len(NAMES), stages=(), score_threshold=0.0, max_detections=20)


PREPARE = detection.make_prepare((0.5,) * 3, (0.25,) * 3)


def outputs_of(batch, seed=0):
    """Random raw outputs of `small_model` for a batch."""
    model = small_model()
    image = PREPARE(batch)["image"]
    cells = 64
    rng = np.random.default_rng(seed)
    shape = (len(image), cells)
    row = np.arange(8) * 4 + 2.0
    points = np.stack(np.meshgrid(row, row), -1).reshape(-1, 2)
    return model, {
        "class_logits": jnp.asarray(rng.normal(size=(*shape, len(NAMES))), jnp.float32),
        "distances": jnp.asarray(rng.uniform(1, 12, (*shape, 4)), jnp.float32),
        "points": jnp.asarray(points, jnp.float32),
        "strides": jnp.full(cells, 4.0),
    }


BROKEN = {
    "degenerate": (4, 4, 4, 20),
    "inverted": (20, 20, 4, 4),
    "not a number": (np.nan, 2, 9, 9),
    "infinite": (0, 0, np.inf, 9),
}
DETECTORS = ("detector_small", "retinanet_resnet50_fpn", "ssdlite320_mobilenet_v3_large",
             "fcos_resnet50_fpn")  # fmt: skip


@pytest.mark.parametrize("box", BROKEN.values(), ids=BROKEN)
def test_broken_boxes_change_neither_loss_nor_gradient(box):
    batch = make_batch(np.random.default_rng(0), 3, most=2)
    model, outputs = outputs_of(batch)
    task = detection.detection(NAMES, model, size=SIZE)
    dirty = {name: value.copy() for name, value in batch.items()}
    dirty["boxes"][:, 4], dirty["labels"][:, 4] = box, 1

    @jax.jit
    def total(outputs, batch):
        return sum(mean.total for mean in task.loss(outputs, batch).values())

    chex.assert_trees_all_equal(
        jax.value_and_grad(total, allow_int=True)(outputs, dirty),
        jax.value_and_grad(total, allow_int=True)(outputs, batch),
    )


def raw_outputs(name, boxes):
    """Random raw outputs of a network whose anchors lie around the boxes."""
    rng = np.random.default_rng(0)
    anchors = jnp.asarray(np.array([[0, 0, 16, 16], [8, 8, 24, 24], [16, 0, 32, 16]]), jnp.float32)
    count = (len(boxes), 3)
    columns = len(NAMES) + name.startswith("ssd")
    return {
        "class_logits": jnp.asarray(rng.normal(size=(*count, columns)), jnp.float32),
        "box_deltas": jnp.asarray(rng.normal(size=(*count, 4)), jnp.float32),
        "distances": jnp.asarray(rng.uniform(0.5, 2, (*count, 4)), jnp.float32),
        "centreness": jnp.asarray(rng.normal(size=count), jnp.float32),
        "points": (anchors[:, :2] + anchors[:, 2:]) / 2,
        "strides": jnp.full(3, 8.0),
        "anchors": anchors,
    }


@pytest.mark.parametrize("name", DETECTORS)
def test_every_network_bears_broken_boxes_and_pictures_without_any(name):
    model = create(name, num_classes=len(NAMES))
    task = detection.detection(NAMES, model, size=SIZE)
    batch = make_batch(np.random.default_rng(1), 3, most=3)
    batch["boxes"][0, 0], batch["labels"][0, 0] = (0, 0, 16, 16), 1
    outputs = raw_outputs(name, batch["boxes"])

    @jax.jit
    @jax.value_and_grad
    def loss(logits, outputs, batch):
        means = task.loss({**outputs, "class_logits": logits}, batch)
        return sum(mean.total for mean in means.values())

    clean = loss(outputs["class_logits"], outputs, batch)
    dirty = {key: value.copy() for key, value in batch.items()}
    for i, box in enumerate(BROKEN.values()):
        if (dirty["labels"][i % 3, 4]) < 0:
            dirty["boxes"][i % 3, 4], dirty["labels"][i % 3, 4] = box, 2
    chex.assert_trees_all_equal(loss(outputs["class_logits"], outputs, dirty), clean)
    empty = {**batch, "labels": np.full_like(batch["labels"], -1)}
    chex.assert_tree_all_finite(loss(outputs["class_logits"], outputs, empty))
    nobody = {**batch, "mask": np.zeros_like(batch["mask"])}
    value, gradient = loss(outputs["class_logits"], outputs, nobody)
    assert value == 0
    assert not np.asarray(gradient).any()


def test_crowds_and_padding_are_not_learnt():
    batch = make_batch(np.random.default_rng(2), 4)
    batch["crowd"][0] = 1
    batch["mask"][1] = 0
    targets = detection.training_targets(batch)
    assert (targets.labels[:2] == -1).all()
    np.testing.assert_array_equal(targets.labels[2:], batch["labels"][2:])


def test_detections_are_in_pixels_of_the_picture_and_within_it():
    batch = make_batch(np.random.default_rng(3), 2)
    batch["factor"][:] = 0.5, 0.25
    batch["extent"][:] = 16, 32  # (height, width) of the frame that the picture fills
    model, outputs = outputs_of(batch)
    rows = detection.detection(NAMES, model, size=SIZE).observe(outputs, batch).rows
    plain = model.detect(outputs, SIZE)
    found = np.asarray(rows["detections"])
    wanted = np.clip(plain.boxes, 0, [32, 16, 32, 16]) / [0.5, 0.25, 0.5, 0.25]
    np.testing.assert_allclose(found[..., :4], wanted, rtol=1e-6)
    assert (found[..., [1, 3]] <= 64).all()
    np.testing.assert_array_equal(found[..., 5], plain.labels)
    scaled = batch["boxes"] / [0.5, 0.25, 0.5, 0.25]
    np.testing.assert_allclose(rows["truth"][..., :4], scaled, rtol=1e-6)


@pytest.fixture(scope="module")
def trained():
    """A network after thirty steps, on one device; and how often its step was traced."""
    chex.clear_trace_counter()
    rng = np.random.default_rng(0)
    model = small_model()
    task = detection.detection(NAMES, model, size=SIZE)
    tx = optax.adam(3e-3)
    augment = detection.make_augment(PREPARE, augment="flip,affine:0.1:0.9:1.1", mosaic=0.3)
    where = layout.jit_layout(jax.devices()[:1])
    body = step.make_train_step(model, task, tx, seed=0, augment=augment)
    train_step = where.compile_train(chex.assert_max_traces(n=1)(body))
    now = where.replicate(
        state.create_state(model, tx, jax.ShapeDtypeStruct((8, *SIZE, 3), np.float32), seed=0)
    )
    losses = []
    for i in range(30):  # from no object in any picture to as many as there is room for
        batch = make_batch(rng, 8, most=(0, 1, N)[i % 3], valid=8 if i else 0)
        now, metrics = train_step(now, where.shard(batch))
        losses.append(float(metrics["loss"]))
    assert np.isfinite(losses).all()
    return model, task, where.fetch(now), losses


def test_one_compilation_and_a_falling_loss(trained):
    losses = trained[3]
    assert losses[0] == 0  # nobody was there
    assert np.mean(losses[-9:]) < 0.9 * np.mean(losses[1:10])


def observe(trained, batches, make, devices):
    model, task, now, _ = trained
    where = make(jax.devices()[:devices])
    eval_step = step.make_eval_step(model, task, axis_name=where.axis_name, prepare=PREPARE)
    return evaluation.evaluate(where.compile_eval(eval_step), where.replicate(now), batches, where)


def cut(whole, size):
    """Batches of a size; the last one is filled up with rubbish of mask 0."""
    count = len(whole["mask"])
    for start in range(0, count, size):
        rows = np.arange(start, start + size)
        batch = {name: value[rows % count] for name, value in whole.items()}
        yield {**batch, "mask": (rows < count).astype(np.float32)}


@pytest.mark.parametrize(
    ("size", "make", "devices"),
    [
        (7, layout.jit_layout, 1),
        (16, layout.jit_layout, 8),
        (5, layout.pmap_layout, 8),
    ],
)
def test_figures_do_not_depend_on_batches_or_devices(trained, size, make, devices):
    whole = make_batch(np.random.default_rng(5), 13)
    whole["labels"][4] = -1  # nothing to be found
    reference = observe(trained, [whole], layout.jit_layout, 1)
    expected = trained[1].report(reference)
    observed = observe(trained, cut(whole, size), make, devices)
    assert observed.sums["examples"] == reference.sums["examples"] == 13
    figures = trained[1].report(observed)
    assert expected["ap50"] > 0
    assert figures.keys() == expected.keys()
    for name, value in expected.items():
        assert figures[name] == pytest.approx(value, abs=1e-6), name


@pytest.mark.slow
def test_training_is_the_same_on_any_devices():
    def run(where):
        rng = np.random.default_rng(0)
        model = small_model()
        task = detection.detection(NAMES, model, size=SIZE)
        tx = optax.sgd(0.05)
        augment = detection.make_augment(PREPARE, augment="flip")
        body = step.make_train_step(
            model, task, tx, seed=0, augment=augment, axis_name=where.axis_name
        )
        train_step = where.compile_train(body)
        image = jax.ShapeDtypeStruct((16, *SIZE, 3), np.float32)
        now = where.replicate(state.create_state(model, tx, image, seed=0))
        for i in range(2):
            batch = make_batch(rng, 16, valid=16 - i * 3, most=1 if i else N)
            now, metrics = train_step(now, where.shard(batch))
        return jax.device_get((where.fetch(now).params, metrics))

    one = run(layout.jit_layout(jax.devices()[:1]))
    for make in (layout.jit_layout, layout.pmap_layout):
        chex.assert_trees_all_close(run(make(jax.devices())), one, rtol=1e-3, atol=2e-4)
