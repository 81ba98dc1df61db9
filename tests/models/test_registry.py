"""Every registered network: the published parameter count, output shapes and dtypes; errors."""

import functools
import inspect
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from cnn_jax.models import create, describe, list_models
from cnn_jax.models.registry import register, row

NAMES = list_models()
# More than about a second to trace, each a deeper sibling of one that is tried by default.
SLOW = {
    *("densenet161", "densenet169", "densenet201"),
    *("efficientnet_b3", "efficientnet_b4", "efficientnet_b5", "efficientnet_b6"),
    *("efficientnet_b7", "efficientnet_lite4", "efficientnet_v2_m", "efficientnet_v2_l"),
    *("convnext_base", "convnext_large", "regnet_x_3_2gf", "regnet_x_32gf", "regnet_y_1_6gf"),
    *("regnet_y_128gf", "resnet101", "resnet101_v1", "resnet101_v2", "resnet110", "resnet110_v2"),
    *("resnet152", "resnet152_v1", "resnet152_v2", "resnet164_v2", "resnet200_v2"),
    *("resnet1001_v2", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet101_2"),
}
# The smallest quick network of each family: on every stack, since Flax's defaults are in each.
BY_SIZE = sorted(set(NAMES) - SLOW, key=lambda name: describe(name).params, reverse=True)
FAMILIES = sorted({describe(name).module: name for name in BY_SIZE}.values())


def marks(name):
    if name in SLOW:
        return pytest.mark.exhaustive
    return [] if name in FAMILIES else pytest.mark.once


ALL = [pytest.param(name, marks=marks(name)) for name in NAMES]


@functools.cache
def abstract(name: str, num_classes: int | None = None, **overrides):
    """Shapes of outputs and variables, without computing anything, and the names of the stages."""
    described, stages = describe(name), []
    model = create(name, num_classes=num_classes, dtype="bfloat16", **overrides)
    x = jax.ShapeDtypeStruct((2, *described.input_shape), jnp.float32)

    def init(key, x):
        outputs, variables = model.init_with_output(key, x, train=False)
        # jit and eval_shape sort a dict by its keys
        stages.extend(outputs if isinstance(outputs, dict) else ())
        return outputs, variables

    return *jax.eval_shape(init, jax.random.key(0), x), stages


@pytest.mark.parametrize("name", ALL)
def test_parameter_count_output_shape_and_dtypes(name):
    described = describe(name)
    logits, variables, _ = abstract(name, described.num_classes)
    assert logits.shape == (2, described.num_classes)
    assert logits.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert set(variables) <= {"params", "batch_stats", "whitening"}
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"])) == (
        described.params
    )


@pytest.mark.parametrize("name", ALL)
def test_every_parameter_has_an_explicit_name(name):
    """Flax would call an unnamed layer Conv_0: no part of a path may look like that."""
    _, variables, _ = abstract(name, describe(name).num_classes)
    for path, _ in jax.tree_util.tree_leaves_with_path(variables):
        for key in path:
            assert key.key[0].islower(), jax.tree_util.keystr(path)


@pytest.mark.parametrize("name", NAMES)
def test_fields_every_model_has(name):
    fields = describe(name).module.__dataclass_fields__
    assert {"num_classes", "dtype", "axis_name", "remat", "drop_rate"} <= set(fields)
    call = inspect.signature(describe(name).module.__call__)
    train = call.parameters["train"]
    assert train.kind is inspect.Parameter.KEYWORD_ONLY
    assert train.default is inspect.Parameter.empty


@pytest.mark.parametrize("name", FAMILIES)
def test_stages_are_shallow_to_deep(name):
    stages, variables, order = abstract(name, None)
    whole = abstract(name, describe(name).num_classes)[1]
    assert isinstance(stages, dict)
    # The backbone's variables are a part of the whole network's, under the same paths.
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        assert functools.reduce(lambda tree, key: tree[key.key], path, whole).shape == leaf.shape
    positions = [math.prod(stages[stage].shape[1:-1]) for stage in order]
    assert positions == sorted(positions, reverse=True)
    assert list(stages) == order  # by the alphabet too, as jit leaves them


@pytest.mark.parametrize("name", FAMILIES)
def test_remat_keeps_the_parameters(name):
    plain = abstract(name, describe(name).num_classes)[1]
    recomputed = abstract(name, describe(name).num_classes, remat=True)[1]
    assert jax.tree.structure(recomputed) == jax.tree.structure(plain)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_batch_norm_gets_the_axis_name(name):
    described = describe(name)
    model = create(name, num_classes=10, axis_name="replicas")
    axes = []

    def record(call, args, kwargs, context):
        if isinstance(context.module, nn.BatchNorm):
            axes.append(context.module.axis_name)
        return call(*args, **kwargs)

    x = jax.ShapeDtypeStruct((2, *described.input_shape), jnp.float32)
    with nn.intercept_methods(record):
        variables = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), x)
    assert set(axes) == ({"replicas"} if "batch_stats" in variables else set())


def test_list_models_matches_a_pattern():
    assert {"resnet18", "resnet50"} <= set(list_models("resnet*"))
    assert all(name.startswith("wrn") for name in list_models("wrn*"))


def test_an_unknown_name_gives_the_nearest():
    with pytest.raises(ValueError, match=r"no model 'resnet51': the nearest names are .*resnet50"):
        create("resnet51", num_classes=10)


def test_an_unknown_field_gives_those_there_are():
    with pytest.raises(ValueError, match=r"no field dropout; it has .*drop_rate.*stem"):
        create("resnet18", num_classes=10, dropout=0.1)


def test_num_classes_must_be_positive():
    with pytest.raises(ValueError, match="num_classes is 0"):
        create("resnet18", num_classes=0)


@pytest.mark.parametrize("name", ["resnet8", "unet_small", "retinanet_resnet50_fpn"])
def test_in_channels_is_held_to(name):
    model, free = create(name, num_classes=3, in_channels=4), create(name, num_classes=3)
    assert model == create(name, num_classes=3, in_channels=4)

    def shapes(model, channels):
        x = jax.ShapeDtypeStruct((1, 64, 64, channels), jnp.float32)
        return jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), x)

    assert shapes(model, 4) == shapes(free, 4)
    with pytest.raises(ValueError, match=r"in_channels=4, and the images .* \[1, 64, 64, 3\]"):
        shapes(model, 3)
    with pytest.raises(ValueError, match="in_channels is 0"):
        create(name, num_classes=3, in_channels=0)


def test_register_refuses_a_second_model_of_the_same_name():
    with pytest.raises(ValueError, match="registered twice"):
        register(nn.Module, {"resnet18": row(1)}, paper="", source="")


def test_register_refuses_a_field_the_module_lacks():
    with pytest.raises(ValueError, match="no field depht"):
        register(describe("wrn_16_4").module, {"new": row(1, depht=3)}, paper="", source="")


def test_without_a_number_of_classes_it_has_those_it_is_registered_with():
    assert create("resnet18").num_classes == 1000
    assert create("resnet20").num_classes == describe("resnet20").num_classes
    assert create("resnet18", num_classes=None).num_classes is None
