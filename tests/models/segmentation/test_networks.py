"""Every segmentation network: published counts, shapes, names; what each paper adds."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models import MODELS, create, describe, list_models, register, row
from cnn_jax.models.segmentation.unet import fits_valid

NAMES = list_models(task="segmentation")
FAMILIES = sorted({describe(name).module: name for name in NAMES}.values())


@functools.cache
def abstract(name, num_classes, train=False, **overrides):
    described = describe(name)
    model = create(name, num_classes=num_classes, dtype="bfloat16", **overrides)
    x = jax.ShapeDtypeStruct((2, *described.input_shape), jnp.float32)
    rngs = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    return jax.eval_shape(functools.partial(model.init_with_output, train=train), rngs, x)


@pytest.mark.parametrize(
    "name",
    [pytest.param(each, marks=[] if each in FAMILIES else pytest.mark.once) for each in NAMES],
)
def test_parameters_shapes_dtypes_and_names(name):
    described = describe(name)
    logits, variables = abstract(name, described.num_classes)
    space = described.input_shape[:-1] if name != "unet" else (388, 388)  # figure 1 of the paper
    assert logits.shape == (2, *space, described.num_classes)
    assert logits.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    if described.params is not None:
        count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))
        assert count == described.params
    for path, _ in jax.tree_util.tree_leaves_with_path(variables):
        assert all(key.key[0].islower() for key in path), jax.tree_util.keystr(path)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_batch_norm_gets_the_axis_name(name):
    model = create(name, num_classes=3, axis_name="replicas")
    axes = []

    def record(call, args, kwargs, context):
        if isinstance(context.module, nn.BatchNorm):
            axes.append(context.module.axis_name)
        return call(*args, **kwargs)

    x = jax.ShapeDtypeStruct((2, *describe(name).input_shape), jnp.float32)
    with nn.intercept_methods(record):
        variables = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), x)
    assert set(axes) == ({"replicas"} if "batch_stats" in variables else set())


@pytest.mark.parametrize("name", FAMILIES)
def test_remat_keeps_the_parameters_and_stages_are_shallow_to_deep(name):
    plain = abstract(name, 3)[1]
    assert jax.tree.structure(abstract(name, 3, remat=True)[1]) == jax.tree.structure(plain)
    stages, _ = abstract(name, None)
    positions = [math.prod(stage.shape[1:-1]) for stage in stages.values()]
    assert positions == sorted(positions, reverse=True)


@pytest.mark.parametrize("name", ["fcn_resnet50", "deeplabv3_mobilenet_v3_large"])
def test_auxiliary_scores_in_training_only(name):
    outputs, variables = abstract(name, 3, train=True)
    assert outputs["logits"].shape == outputs["aux"].shape == (2, 520, 520, 3)
    assert "aux_head" in variables["params"]
    outputs, variables = abstract(name, 3, train=True, aux_stage=None)
    assert outputs.shape == (2, 520, 520, 3)
    assert "aux_head" not in variables["params"]


@pytest.mark.parametrize("space", [(32,), (33, 47), (16, 17, 18)])
def test_unet_in_any_dimension_and_size(space):
    model = create("unet_small", num_classes=3, width=2, depth=3)
    x = jax.ShapeDtypeStruct((2, *space, 1), jnp.float32)
    init = functools.partial(model.init_with_output, train=True)
    logits, _ = jax.eval_shape(init, jax.random.key(0), x)
    assert logits.shape == (2, *space, 3)


def test_unet_without_padding_gives_the_middle():
    """The sizes of the paper's figure 1; and no padding means that a shift of the image by the
    deepest stride is a shift of the scores, up to the border."""
    init = functools.partial(create("unet", num_classes=2, width=2).init_with_output, train=False)
    figure = jax.ShapeDtypeStruct((1, 572, 572, 1), jnp.float32)
    assert jax.eval_shape(init, jax.random.key(0), figure)[0].shape == (1, 388, 388, 2)
    assert fits_valid(572, 4)
    assert not fits_valid(570, 4)
    model = create("unet", num_classes=2, width=2, depth=2)
    x = np.random.default_rng(0).normal(size=(1, 52, 52, 1)).astype(np.float32)
    variables = model.init(jax.random.key(0), x, train=False)
    logits = model.apply(variables, x, train=False)
    assert logits.shape[1:3] == (12, 12)
    moved = model.apply(variables, np.roll(x, 4, axis=2), train=False)
    np.testing.assert_allclose(moved[:, :, 4:], logits[:, :, :-4], atol=1e-5)
    with pytest.raises(ValueError, match="nearest side that works is 44; with padding='same'"):
        jax.eval_shape(
            functools.partial(model.init, train=False), jax.random.key(0), np.zeros((1, 45, 44, 1))
        )


def test_an_image_too_small_for_a_unet():
    model = create("unet_small", num_classes=2)
    with pytest.raises(ValueError, match=r"sides of 8 pixels or more; got 4x20"):
        model.init(jax.random.key(0), np.zeros((1, 4, 20, 1)), train=False)
    model = create("unet_small", num_classes=2, depth=2)
    with pytest.raises(ValueError, match=r"\(8, 24, 48, 96\) has 4 entries for 3 levels"):
        model.init(jax.random.key(0), np.zeros((1, 16, 20, 1)), train=False)


def test_a_backbone_without_the_fields_of_ours():
    class Plain(nn.Module):
        num_classes: int | None

        @nn.compact
        def __call__(self, x, *, train):
            return {"stage1": nn.Conv(4, (3, 3), strides=2, name="conv1")(x)}

    register(Plain, {"plain_of_mine": row()})
    try:
        x = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
        options = {"backbone": "plain_of_mine", "output_stride": None, "aux_stage": None}
        model = create("deeplabv3_resnet50", num_classes=2, **options)
        init = functools.partial(model.init_with_output, train=False)
        assert jax.eval_shape(init, jax.random.key(0), x)[0].shape == (1, 16, 16, 2)
        remade = functools.partial(model.clone(remat=True).init_with_output, train=False)
        with pytest.raises(
            ValueError, match="plain_of_mine cannot be a backbone with remat: it has"
        ):
            jax.eval_shape(remade, jax.random.key(0), x)
    finally:
        MODELS.forget("plain_of_mine")


def test_a_backbone_that_cannot_be_dilated_or_lacks_the_stage():
    x = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    for overrides, message in [
        ({"backbone": "vgg11"}, "vgg11 cannot be dilated to an output stride of 8"),
        ({"aux_stage": "layer9"}, "resnet50 has no stage 'layer9'; it has conv1, layer1"),
    ]:
        model = create("deeplabv3_resnet50", num_classes=2, **overrides)
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), x)


@pytest.mark.parametrize(
    "backbone", ["resnet18", "mobilenet_v2", "vgg11", "densenet121", "unet_small"]
)
def test_any_backbone_of_the_zoo(backbone):
    model = create(
        "deeplabv3_resnet50", num_classes=5, backbone=backbone, output_stride=None, aux_stage=None
    )
    x = jax.ShapeDtypeStruct((1, 65, 97, 3), jnp.float32)
    init = functools.partial(model.init_with_output, train=False)
    logits, _ = jax.eval_shape(init, jax.random.key(0), x)
    assert logits.shape == (1, 65, 97, 5)
