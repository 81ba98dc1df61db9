"""RandAugment and TrivialAugment: their tables, their draws, each operation's meaning."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from cnn_jax.augment import auto_augment, colour

NAMES = auto_augment.NAMES
# torchvision's names for the same operations, in our order.
TORCHVISION = (
    *("Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color"),
    *("Contrast", "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize"),
)


def picture(channels=3, height=20, width=16):
    coarse = np.random.default_rng(0).random((5, 4, channels))
    smooth = np.kron(coarse, np.ones((height // 5, width // 4, 1)))
    return np.round(255 * smooth).astype(np.uint8)


@jax.jit
def operate(image, kind, strength):
    return auto_augment.apply_operation(image, kind, strength)


def test_tables_against_the_papers():
    """Strengths at the ends, and at M = 9, worked out by hand from the papers' ranges."""
    rand = auto_augment.rand_augment_operations(224, 224)
    assert rand["rotate"].strengths[9] == pytest.approx(9.0)
    assert rand["shear_x"].strengths[30] == pytest.approx(0.3)
    assert rand["translate_x"].strengths[30] == pytest.approx(150 / 331 * 224)
    assert rand["brightness"].strengths[10] == pytest.approx(0.3)
    assert rand["posterize"].strengths[[0, 9, 30]].tolist() == [8, 7, 4]
    assert rand["solarize"].strengths[[0, 30]].tolist() == [1, 0]
    wide = auto_augment.trivial_augment_operations(224, 224)
    assert wide["translate_y"].strengths[30] == 32
    assert wide["rotate"].strengths[30] == 135
    assert wide["posterize"].strengths[30] == 2
    assert wide["sharpness"].strengths[0] == 0
    assert tuple(rand) == NAMES
    assert tuple(wide) == NAMES


def test_tables_equal_torchvision():
    pytest.importorskip("torch")
    from torchvision.transforms import RandAugment, TrivialAugmentWide

    for ours, theirs in (
        (
            auto_augment.rand_augment_operations(20, 16),
            RandAugment()._augmentation_space(31, (20, 16)),
        ),
        (
            auto_augment.trivial_augment_operations(20, 16),
            TrivialAugmentWide()._augmentation_space(31),
        ),
    ):
        for name, other in zip(NAMES, TORCHVISION, strict=True):
            strengths, signed = theirs[other]
            assert ours[name].signed == signed, name
            want = np.broadcast_to(strengths.numpy(), 31)
            want = want / 255 if name == "solarize" else want
            np.testing.assert_allclose(ours[name].strengths, want, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("index", [9, 30])
def test_operations_equal_torchvision(index, sign):
    torch = pytest.importorskip("torch")
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.autoaugment import _apply_op

    levels = picture()
    planes = torch.from_numpy(levels).permute(2, 0, 1)
    operations = auto_augment.trivial_augment_operations(20, 16)
    for kind, (name, other) in enumerate(zip(NAMES, TORCHVISION, strict=True)):
        strength = float(operations[name].strengths[index]) * (
            sign if operations[name].signed else 1
        )
        theirs = strength * 255 if name == "solarize" else strength
        want = _apply_op(planes, other, theirs, InterpolationMode.NEAREST, None)
        want = want.permute(1, 2, 0).numpy()
        got = np.asarray(operate(jnp.asarray(levels, jnp.float32) / 255, kind, strength)) * 255
        if name in ("shear_x", "shear_y", "translate_x", "translate_y", "rotate"):
            # The nearest pixel of a point half way between two is up to rounding.
            assert (np.abs(got - want) > 1).any(-1).mean() < 0.02, name
        else:
            # torchvision truncates to levels twice: what it blends with, and the result.
            slack = 1.05 + (abs(strength) if 6 <= kind <= 9 else 0)
            assert np.abs(got - want).max() <= slack, name


@pytest.mark.parametrize("channels", [1, 3])
def test_operations_are_those_of_the_colour_module(channels):
    """The grouped branches give what the plain functions give, in every channel count."""
    image = jnp.asarray(picture(channels), jnp.float32) / 255
    plain = {
        "identity": lambda x, s: x,
        "brightness": lambda x, s: colour.blend(x, own=1 + s),
        "saturation": lambda x, s: colour.blend(x, own=1 + s, grey=-s),
        "contrast": lambda x, s: colour.blend(x, own=1 + s, mean=-s),
        "sharpness": lambda x, s: colour.adjust_sharpness(x, 1 + s),
        "posterize": lambda x, s: colour.posterize(x, 3),
        "solarize": colour.solarize,
        "autocontrast": lambda x, s: colour.autocontrast(x),
        "equalize": lambda x, s: colour.equalize(x),
    }
    for name, function in plain.items():
        strength = 3.0 if name == "posterize" else 0.3
        got = operate(image, NAMES.index(name), strength)
        np.testing.assert_allclose(got, function(image, strength), atol=1e-5, err_msg=name)


def test_geometric_operations_move_as_they_should():
    image = jnp.asarray(picture(1), jnp.float32) / 255
    right = np.zeros_like(image)
    right[:, 3:] = image[:, :-3]
    np.testing.assert_array_equal(operate(image, NAMES.index("translate_x"), 3.9), right)
    up = np.zeros_like(image)
    up[:-2] = image[2:]
    np.testing.assert_array_equal(operate(image, NAMES.index("translate_y"), -2.0), up)
    # About the upper left corner, row i + 1/2 comes from 2 (i + 1/2) pixels further right.
    sheared = np.asarray(operate(image, NAMES.index("shear_x"), 2.0))
    for row in range(20):
        want = np.zeros((16, 1))
        want[: max(0, 15 - 2 * row)] = image[row, 2 * row + 1 :]
        np.testing.assert_array_equal(sheared[row], want)


def test_each_operation_is_drawn_equally_often(monkeypatch):
    """The draw of kind, strength and sign, read by standing in for the operations."""
    monkeypatch.setattr(
        auto_augment,
        "apply_operation",
        lambda image, kind, strength, **_: jnp.stack([kind.astype(jnp.float32), strength]),
    )
    keys = jax.random.split(jax.random.key(0), 7000)
    image = jnp.zeros((224, 224, 3))

    def draws(policy):
        kind, strength = np.asarray(jax.vmap(lambda key: policy(key, image))(keys)).T
        return kind.astype(int), strength

    kind, strength = draws(lambda key, x: auto_augment.rand_augment(key, x, layers=1, magnitude=10))
    assert stats.chisquare(np.bincount(kind, minlength=14)).pvalue > 1e-3
    rotation = strength[kind == NAMES.index("rotate")]
    assert set(np.round(np.abs(rotation), 3)) == {10.0}
    assert stats.binomtest(int((rotation > 0).sum()), len(rotation)).pvalue > 1e-3
    assert (strength[kind == NAMES.index("posterize")] == 7).all()

    kind, strength = draws(auto_augment.trivial_augment)
    assert stats.chisquare(np.bincount(kind, minlength=14)).pvalue > 1e-3
    steps = np.abs(strength[kind == NAMES.index("rotate")]) / 4.5  # 135 degrees in 30 steps
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-4)
    assert stats.chisquare(np.bincount(np.round(steps).astype(int), minlength=31)).pvalue > 1e-3


def test_layers_follow_one_another_under_keys_of_their_own():
    image = jnp.asarray(picture(), jnp.float32) / 255
    key = jax.random.key(5)
    np.testing.assert_array_equal(auto_augment.rand_augment(key, image, layers=0), image)
    keys = jax.random.split(key, 64)
    run = jax.jit(jax.vmap(lambda k: auto_augment.rand_augment(k, image, magnitude=20)))
    got = run(keys)
    assert len({np.asarray(one).tobytes() for one in got}) > 50
    assert bool(((got >= 0) & (got <= 1 + 1e-5)).all())


def test_sequences_are_refused():
    with pytest.raises(ValueError, match=r"image \[H, W, C\]"):
        auto_augment.trivial_augment(jax.random.key(0), jnp.zeros((8, 3)))
