"""Every network of torchvision gives torchvision's logits, without torch at hand.

The weights follow from torchvision's tensor names by a formula; the logits were stored. A wrong
name, layout, padding, epsilon or order of layers changes them.
"""

import jax
import numpy as np
import pytest

from cnn_jax.models import create, describe, list_models
from cnn_jax.weights.torch import import_torch, torch_shapes
from tests.weights import formula, golden

GOLDEN = golden.read()["models"]
# Of the largest logit. The formula's weights let a few deep networks enlarge a rounding a hundred
# times: PyTorch's own float32 is so far from the float64 that is stored ("rounding"), and ours may
# be ROUNDINGS times as far, for its sums have another order on every kind of processor.
TOLERANCE, ROUNDINGS = 2e-5, 4

# The quickest to compile of each family; the others run with `-m exhaustive`.
QUICK = (
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "googlenet",
    "inception_v3",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "r2plus1d_18",
    "r3d_18",
    "regnet_x_400mf",
    "regnet_y_400mf",
    "resnet18",
    "resnext50_32x4d",
    "s3d",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "vgg11_bn",
    "wide_resnet50_2",
)
# Those that each stack tries: every layer that Flax has a default for is in one of them. What the
# others add is of our tables, which no library's version changes.
EVERYWHERE = ("convnext_tiny", "mobilenet_v3_small", "resnet18", "shufflenet_v2_x0_5")


def marks(name):
    if name not in QUICK:
        return pytest.mark.exhaustive
    return [] if name in EVERYWHERE else pytest.mark.once


def test_all_of_torchvision_is_here():
    assert len(GOLDEN) == 68 + 4
    assert set(GOLDEN) <= set(list_models())
    assert set(EVERYWHERE) <= set(QUICK) <= set(GOLDEN)


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks(name)) for name in GOLDEN])
def test_torchvisions_logits(name):
    entry, described = GOLDEN[name], describe(name)
    rules = described.rules["torchvision"]
    model = create(name, num_classes=entry["classes"])
    x = formula.image(tuple(entry["size"]))
    template = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)
    pairs = (pair.split("=") for pair in entry["exponents"].split())
    exponents = {module: int(exponent) for module, exponent in pairs}
    tensors = formula.state_dict(torch_shapes(template, rules), exponents)
    variables = import_torch(tensors, template, rules)

    logits = jax.jit(lambda variables, x: model.apply(variables, x, train=False))(variables, x)

    expected = np.array(entry["logits"])
    error = np.abs(golden.pick(np.asarray(logits)) - expected).max() / entry["scale"]
    tolerance = max(TOLERANCE, ROUNDINGS * entry["rounding"])
    assert error <= tolerance
    # And the comparison can tell two pictures apart.
    assert np.abs(expected[0] - expected[1]).max() > 10 * tolerance * entry["scale"]


@pytest.mark.parametrize("name", GOLDEN)
def test_published_parameter_counts(name):
    """The registry's figure is torchvision's; that the network has it, tests/models checks."""
    published = GOLDEN[name]["params"]
    if name == "googlenet":  # counted without its auxiliary heads
        assert describe(name).fields.get("aux_heads", False) is False
    assert describe(name).params == published


def test_the_formula_is_stable():
    """The first values, computed once by hand-checked integer arithmetic in Python."""
    import zlib

    seed = zlib.crc32(b"fc.weight")
    for i, value in enumerate(formula.uniform("fc.weight", (5,))):
        x = (i * (seed | 1) + (seed >> 7)) % 2**32
        x ^= x >> 16
        x = x * 0x7FEB352D % 2**32
        x ^= x >> 15
        x = x * 0x846CA68B % 2**32
        x ^= x >> 16
        assert value == (x >> 8) / 2**24


def test_the_formula_looks_random():
    values = formula.uniform("features.0.weight", (200_000,))
    counts, _ = np.histogram(values, 20, (0, 1))
    assert np.all(np.abs(counts - 10_000) < 500)  # five standard deviations
    assert abs(np.corrcoef(values[1:], values[:-1])[0, 1]) < 0.01
    other = formula.uniform("features.1.weight", (200_000,))
    assert abs(np.corrcoef(values, other)[0, 1]) < 0.01
