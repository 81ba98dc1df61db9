"""DenseNet: what its layers share."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.models.densenet import DenseNet

FIELDS = {"num_classes": None, "depths": (3, 2), "growth_rate": 4, "stem_width": 8}


def _sums(jaxpr) -> list[int]:
    """Sizes of what is summed over devices, in the order of the program."""
    sizes = []
    for equation in jaxpr.eqns:
        if equation.primitive.name.startswith("psum"):
            sizes += [variable.aval.size for variable in equation.invars]
        for value in equation.params.values():
            for inner in value if isinstance(value, list | tuple) else [value]:
                if hasattr(inner, "eqns") or hasattr(inner, "jaxpr"):
                    sizes += _sums(getattr(inner, "jaxpr", inner))
    return sizes


def test_a_map_is_measured_once_however_many_layers_read_it():
    x = jnp.zeros((1, 2, 32, 32, 3))
    model = DenseNet(**FIELDS, axis_name="devices")
    init = partial(DenseNet(**FIELDS).init, train=False)
    variables = jax.eval_shape(init, jax.random.key(0), x[0])

    def step(x):
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), variables)
        return model.apply(zeros, x, train=True, mutable=["batch_stats"])

    sums = _sums(jax.make_jaxpr(jax.pmap(step, axis_name="devices"))(x).jaxpr)
    # a mean and a mean square for each channel of the stem, of a block's first maps, and for each
    # layer of its bottleneck (4 * 4 channels) and of its 4 new maps; the transition halves 20 maps
    wanted = [8, 8, *(16, 4) * 3, 10, *(16, 4) * 2]
    assert sums == [2 * size for size in wanted]


def test_the_statistics_of_each_norm_are_those_of_what_it_reads():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 32, 32, 3)), jnp.float32)
    model = DenseNet(**FIELDS)
    variables = model.init(jax.random.key(0), x, train=False)
    read = {}

    def note(call, args, kwargs, context):
        if isinstance(context.module, nn.BatchNorm) and context.method_name == "__call__":
            read[context.module.path] = np.asarray(args[0], np.float64)
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        _, new = model.apply(variables, x, train=True, mutable=["batch_stats"])
    assert len(read) == 1 + 2 * (3 + 2) + 1 + 1
    for path, seen in read.items():
        kept = new["batch_stats"]
        for name in path:
            kept = kept[name]
        axes = (0, 1, 2)
        np.testing.assert_allclose(kept["mean"], 0.1 * seen.mean(axes), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(kept["var"], 0.9 + 0.1 * seen.var(axes), rtol=1e-4)
