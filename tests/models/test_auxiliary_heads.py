"""Auxiliary heads: there in training, gone in evaluation, and their parameters always there."""

import jax
import jax.numpy as jnp
import pytest

from cnn_jax.models import create
from cnn_jax.models.shufflenet_v2 import channel_shuffle

CASES = [("googlenet", 64, {"aux1", "aux2"}), ("inception_v3", 299, {"aux"})]


def shapes(model, size, *, train):
    """Of the variables and of the outputs; nothing is computed."""
    x = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)
    rngs = {"dropout": jax.random.key(1)}

    def apply(variables, x):
        mutable = ["batch_stats"] if train else False
        out = model.apply(variables, x, train=train, mutable=mutable, rngs=rngs)
        return out[0] if train else out

    return variables, jax.eval_shape(apply, variables, x)


@pytest.mark.parametrize(("name", "size", "heads"), CASES)
def test_outputs(name, size, heads):
    model = create(name, num_classes=7, aux_heads=True)
    variables, outputs = shapes(model, size, train=True)
    assert {key: out.shape for key, out in outputs.items()} == dict.fromkeys(
        {"logits", *heads}, (2, 7)
    )
    assert heads <= set(variables["params"])
    assert shapes(model, size, train=False)[1].shape == (2, 7)


@pytest.mark.parametrize(("name", "size", "heads"), CASES)
def test_without(name, size, heads):
    model = create(name, num_classes=7, aux_heads=False)
    variables, outputs = shapes(model, size, train=True)
    assert outputs.shape == (2, 7)
    assert not heads & set(variables["params"])


@pytest.mark.parametrize(("name", "size", "heads"), CASES)
def test_a_backbone_has_none(name, size, heads):
    model = create(name, num_classes=None, aux_heads=True)
    variables, outputs = shapes(model, size, train=True)
    assert not heads & set(variables["params"])
    assert not heads & set(outputs)


def test_channel_shuffle():
    x = jnp.arange(6)[None, None, None]
    assert channel_shuffle(x, 2)[0, 0, 0].tolist() == [0, 3, 1, 4, 2, 5]
    assert channel_shuffle(x, 3)[0, 0, 0].tolist() == [0, 2, 4, 1, 3, 5]
