"""The train steps as a GPU and a TPU would get them, lowered on this machine by `jax.export`.

What is checked is the StableHLO that JAX hands to the compiler of the platform. Every convolution,
forward and in both gradients, must be a native one on [B, H, W, C] activations, in the dtype that
was asked for, and nothing may transpose activations in between.
"""

import collections
import functools
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import cnn_jax.cpu
from cnn_jax import models
from cnn_jax.tasks import classification, detection, segmentation
from cnn_jax.train import layout, optim, state, step

BATCH, CLASSES, OBJECTS = 8, 10, 6
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
NAMES = [f"class{i}" for i in range(CLASSES)]

# Dimension numbers of a convolution of NHWC activations with an HWIO kernel, and of its gradients,
# which read the same arrays as they are: nothing is moved for them.
FORWARD = "[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"
INPUT_GRADIENT = "[b, 0, 1, f]x[0, 1, o, i]->[b, 0, 1, f]"
KERNEL_GRADIENT = "[f, 0, 1, b]x[i, 0, 1, o]->[0, 1, b, f]"

CONVOLUTION = re.compile(
    r"stablehlo\.convolution\(.*?\) dim_numbers = (.*?), window.* : "
    r"\(tensor<[\dx]+x(\w+)>, tensor<[\dx]+x(\w+)>\) -> tensor<[\dx]+x(\w+)>"
)
TRANSPOSE = re.compile(r"stablehlo\.transpose .*dims = \[(.*?)\] : \((.*?)\)")


class Lowered(NamedTuple):
    """A train step for one platform: what it takes, what it returns, and its program."""

    arguments: tuple  # (state, batch) of shapes
    exported: export.Exported
    text: str


def parts_of(kind, dtype):
    """Model, task, augmentation and the shapes of a batch, small and with everything on."""

    def array(*shape, dtype=np.float32):
        return jax.ShapeDtypeStruct((BATCH, *shape), dtype)

    batch = {"image": array(32, 32, 3, dtype=np.uint8), "mask": array()}
    if kind == "classification":
        model = models.create(
            "resnet18", num_classes=CLASSES, stem="small", stage_sizes=(1, 1), dtype=dtype
        )
        task = classification.classification(CLASSES, label_smoothing=0.1)
        augment = classification.make_augment(
            classification.make_prepare(MEAN, STD),
            num_classes=CLASSES,
            augment="flip,crop:2",
            mixup=0.2,
            cutmix=1.0,
        )
        batch["label"] = array(dtype=np.int32)
    elif kind == "segmentation":
        model = models.create("unet_small", num_classes=CLASSES, dtype=dtype)
        task = segmentation.segmentation(NAMES, loss="cross_entropy+dice")
        augment = segmentation.make_augment(
            segmentation.make_prepare(MEAN, STD),
            augment="affine:10:0.1:0.8:1.2,colour:0.2",
        )
        batch["label"] = array(32, 32, dtype=np.int32)
    else:
        model = models.create("detector_small", num_classes=CLASSES, dtype=dtype)
        task = detection.detection(NAMES, model, size=(32, 32))
        augment = detection.make_augment(
            detection.make_prepare(MEAN, STD), augment="affine:0.1:0.8:1.25:1.1,colour:0.2"
        )
        batch |= {
            "boxes": array(OBJECTS, 4),
            "labels": array(OBJECTS, dtype=np.int32),
            "crowd": array(OBJECTS),
            "extent": array(2),
            "factor": array(2),
        }
    return model, task, augment, batch


@functools.cache
def lowered(kind, dtype, platform, devices=8, ours=True):
    """The step under the jit layout over `devices`; `ours`: with cnn_jax.cpu enabled."""
    model, task, augment, batch = parts_of(kind, jnp.bfloat16 if dtype == "bf16" else None)
    tx = optim.make_optimizer("sgd", 0.1, weight_decay=1e-4, nesterov=True, clip_norm=1.0)
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    now = jax.eval_shape(lambda: state.create_state(model, tx, image, seed=0, ema=True))
    body = step.make_train_step(model, task, tx, seed=0, augment=augment, ema_decay=0.9)
    where = layout.jit_layout(jax.devices()[:devices])
    with cnn_jax.cpu.enabled(ours):
        exported = export.export(where.compile_train(body), platforms=[platform])(now, batch)
    return Lowered((now, batch), exported, exported.mlir_module())


def check(program, dtype):
    now, _ = program.arguments
    found = CONVOLUTION.findall(program.text)
    assert len(found) == program.text.count("stablehlo.convolution"), "one was not understood"
    kernels = [leaf for leaf in jax.tree.leaves(now.params) if leaf.ndim == 4]
    counts = collections.Counter(numbers for numbers, *_ in found)
    # U-Net's up-convolutions, dilated, are forward convolutions to StableHLO too. No gradient
    # reaches the picture.
    assert counts == {
        FORWARD: len(kernels),
        KERNEL_GRADIENT: len(kernels),
        INPUT_GRADIENT: len(kernels) - 1,
    }
    assert {each for _, *operands in found for each in operands} == {dtype}

    moved = [shape for axes, shape in TRANSPOSE.findall(program.text) if axes.count(",") > 1]
    assert not moved, "only matrices are transposed: kernels of dense layers, and colours"

    new_state, metrics = jax.tree.unflatten(program.exported.out_tree, program.exported.out_avals)
    for name in ("params", "model_state", "opt_state", "ema_params"):
        for leaf in jax.tree.leaves(getattr(new_state, name)):
            assert leaf.dtype in (jnp.float32, jnp.int32), f"{name} is kept in float32"
    assert all(value.dtype == jnp.float32 for value in metrics.values())
    assert jax.tree.map(lambda leaf: leaf.shape, new_state) == jax.tree.map(
        lambda leaf: leaf.shape, now
    )


KINDS = ("classification", "segmentation", "detection")


@pytest.mark.parametrize(
    ("dtype", "platform"),
    [
        ("f32", "cuda"),
        ("bf16", "cuda"),
        ("bf16", "tpu"),
        pytest.param("f32", "tpu", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_sharded_over_eight(kind, dtype, platform):
    program = lowered(kind, dtype, platform)
    check(program, dtype)
    assert program.exported.nr_devices == 8
    mesh = jax.sharding.Mesh(jax.devices(), ("data",))
    placed = program.exported.in_shardings_jax(mesh)
    states = len(jax.tree.leaves(program.arguments[0]))
    assert all(sharding.is_fully_replicated for sharding in placed[:states])
    for sharding in placed[states:]:  # the batch by example; None is what the step does not read
        assert sharding is None or sharding.spec[0] == "data"
    assert sum(sharding is not None for sharding in placed[states:]) >= 3


@pytest.mark.exhaustive
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("dtype", ["f32", "bf16"])
@pytest.mark.parametrize("kind", KINDS)
def test_one_device_without_our_lowerings(kind, dtype, platform):
    check(lowered(kind, dtype, platform, devices=1, ours=False), dtype)


@pytest.mark.parametrize(
    "kind", ["classification", *(pytest.param(k, marks=pytest.mark.slow) for k in KINDS[1:])]
)
def test_cnn_jax_cpu_changes_nothing_for_other_platforms(kind):
    """The same program, to the letter, but for the places in the source that it came from."""
    with_ours, without = (
        re.sub(r"loc\(.*?\)|#loc.*", "", lowered(kind, "f32", "cuda", ours=ours).text)
        for ours in (True, False)
    )
    assert with_ours == without


def test_on_a_cpu_they_are_ours():
    """What the check above would find if a lowering of ours got onto a GPU: it can fail."""
    with pytest.raises(AssertionError):
        check(lowered("classification", "f32", "cpu"), "f32")
