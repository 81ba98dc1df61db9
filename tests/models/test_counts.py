"""Parameter counts of the residual networks for CIFAR, from the papers' tables by arithmetic.

The papers print two digits; here the layers are added up one by one, without the models' code.
"""

import pytest

from cnn_jax.models import describe, list_models

CLASSES = 10


def conv(kernel: int, inputs: int, outputs: int) -> int:
    return kernel * kernel * inputs * outputs


def norm(channels: int) -> int:
    return 2 * channels  # scale and bias


def dense(inputs: int) -> int:
    return inputs * CLASSES + CLASSES


def cifar_resnet(n: int) -> int:
    """He 2015, section 4.2: 6n + 2 layers, shortcuts without parameters (option A)."""
    total = conv(3, 3, 16) + norm(16) + dense(64)
    inputs = 16
    for width in (16, 32, 64):
        for _ in range(n):
            total += conv(3, inputs, width) + conv(3, width, width) + 2 * norm(width)
            inputs = width
    return total


def wide_resnet(depth: int, k: int) -> int:
    """Zagoruyko 2016, Table 1, pre-activation, a 1x1 projection where the width changes."""
    total, inputs = conv(3, 3, 16), 16
    for width in (16 * k, 32 * k, 64 * k):
        for j in range((depth - 4) // 6):
            total += norm(inputs) + conv(3, inputs, width) + norm(width) + conv(3, width, width)
            # In a block that halves the image there is a projection even if the width stays.
            if inputs != width or (j == 0 and width != 16 * k):
                total += conv(1, inputs, width)
            inputs = width
    return total + norm(64 * k) + dense(64 * k)


def preact_resnet(n: int, *, bottleneck: bool) -> int:
    """He 2016, section 4: the same widths; a bottleneck has 1x1 w, 3x3 w, 1x1 4w."""
    total, inputs = conv(3, 3, 16), 16
    for width in (16, 32, 64):
        outputs = 4 * width if bottleneck else width
        for _ in range(n):
            if bottleneck:
                total += norm(inputs) + conv(1, inputs, width)
                total += norm(width) + conv(3, width, width)
                total += norm(width) + conv(1, width, outputs)
            else:
                total += norm(inputs) + conv(3, inputs, width)
                total += norm(width) + conv(3, width, width)
            if inputs != outputs:
                total += conv(1, inputs, outputs)
            inputs = outputs
    return total + norm(inputs) + dense(inputs)


@pytest.mark.parametrize(
    ("name", "n", "millions"),
    # He 2015, Table 6.
    [
        ("resnet20", 3, 0.27),
        ("resnet32", 5, 0.46),
        ("resnet44", 7, 0.66),
        ("resnet56", 9, 0.85),
        ("resnet110", 18, 1.7),
    ],
)
def test_cifar_resnets(name, n, millions):
    assert describe(name).params == cifar_resnet(n)
    assert cifar_resnet(n) / 1e6 == pytest.approx(millions, rel=0.02)


def test_the_smallest_cifar_resnet():
    assert describe("resnet8").params == cifar_resnet(1)


@pytest.mark.parametrize(
    ("name", "millions"),
    # Zagoruyko 2016, Tables 4 and 5; the table has no WRN-16-4.
    [
        ("wrn_16_8", 11.0),
        ("wrn_16_10", 17.1),
        ("wrn_22_8", 17.2),
        ("wrn_22_10", 26.8),
        ("wrn_28_10", 36.5),
        ("wrn_28_12", 52.5),
        ("wrn_40_1", 0.6),
        ("wrn_40_2", 2.2),
        ("wrn_40_4", 8.9),
        ("wrn_40_8", 35.7),
    ],
)
def test_wide_resnets(name, millions):
    assert round(describe(name).params / 1e6, 1) == millions


@pytest.mark.parametrize("name", list_models("wrn_*"))
def test_wide_resnets_exactly(name):
    _, depth, widen = name.split("_")
    assert describe(name).params == wide_resnet(int(depth), int(widen))


@pytest.mark.parametrize(
    ("name", "n", "bottleneck"),
    [("resnet110_v2", 18, False), ("resnet164_v2", 18, True), ("resnet1001_v2", 111, True)],
)
def test_preact_resnets(name, n, bottleneck):
    assert describe(name).params == preact_resnet(n, bottleneck=bottleneck)
