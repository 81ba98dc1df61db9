"""Images of any size, tile by tile."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from cnn_jax import run
from cnn_jax.analysis import segmentation_figures
from cnn_jax.models import create
from cnn_jax.run import tiles


def pointwise(x):
    """Logits of three classes that depend on the pixel alone."""
    return jnp.concatenate([x, -x, 2 * x], -1)


@pytest.mark.parametrize("space", [(16, 16), (40, 33), (5, 50), (1, 1), (17, 16)])
@pytest.mark.parametrize("overlap", [(0, 0), (4, 8)])
def test_tiles_of_a_pointwise_network_are_the_whole(space, overlap):
    image = np.random.default_rng(0).normal(size=(*space, 1)).astype(np.float32)
    shares = tiles.segment(pointwise, image, tile=(16, 16), overlap=overlap)
    np.testing.assert_allclose(shares, jax.nn.softmax(pointwise(image)), atol=1e-5)


@pytest.mark.slow
def test_one_tile_is_the_network_itself():
    model = create("unet_small", num_classes=3, width=2, depth=2)
    image = np.random.default_rng(0).normal(size=(1, 16, 24, 3)).astype(np.float32)
    variables = model.init(jax.random.key(0), image, train=False)
    shares = tiles.segment(
        lambda x: model.apply(variables, x, train=False), image[0], tile=(16, 24), overlap=(4, 4)
    )
    direct = jax.nn.softmax(model.apply(variables, image, train=False))[0]
    np.testing.assert_allclose(shares, direct, atol=1e-5)


def test_a_network_without_padding_covers_the_picture_seamlessly():
    """Its tiles see all that the scores depend on, so that seams cannot show."""
    model = create("unet", num_classes=2, width=2, depth=1)
    image = np.random.default_rng(0).normal(size=(30, 26, 1)).astype(np.float32)
    variables = model.init(jax.random.key(0), image[None, :28, :26], train=False)

    def apply(x):
        return model.apply(variables, x, train=False)

    small = tiles.segment(apply, image, tile=(28, 28), overlap=(0, 0))
    large = tiles.segment(apply, image, tile=(60, 60), overlap=(0, 0))
    assert small.shape == (30, 26, 2)
    np.testing.assert_allclose(small, large, atol=1e-5)


def test_an_overlap_as_large_as_the_tile():
    with pytest.raises(ValueError, match=r"overlap of \(16, 0\) does not fit tiles that give"):
        tiles.segment(pointwise, np.zeros((20, 20, 1)), tile=(16, 16), overlap=(16, 0))


@pytest.mark.parametrize("tile", [0, -3, True, 2.5, "32", (32,), (32, 0), (32, 32, 3), [None, 3]])
def test_what_is_no_tile(tile):
    with pytest.raises(ValueError, match=r"^tile=.*: wanted a number of pixels, or \(height"):
        tiles.sides(tile)


def test_a_tile_of_one_side_or_two():
    assert tiles.sides(np.int64(32)) == (32, 32)
    assert tiles.sides([16, 24]) == (16, 24)


@pytest.mark.parametrize(("image_size", "seen"), [("16x12", (16, 12)), ("", (32, 24))])
def test_pixels_are_shown_at_the_scale_of_an_evaluation(image_size, seen):
    """A run that resized its images resizes this one too, and its answer back."""

    class Bright(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            shapes.append(x.shape[1:3])
            return pointwise(x)

    shapes = []
    image = np.zeros((32, 24), np.uint8)
    image[:, 12:] = 255
    facts = run.Facts(
        task="segmentation", num_classes=3, class_names=("a", "b", "c"), mean=(0.5,), std=(0.5,),
        image_shape=(*seen, 1),
    )  # fmt: skip
    recipe = run.SegmentationRecipe(image_size=image_size)
    predictor = run.PixelPredictor(model=Bright(), variables={}, facts=facts, recipe=recipe)
    found = predictor.predict(image)
    assert set(shapes) == {seen}
    assert found.label.shape == (32, 24)
    np.testing.assert_allclose(found.probabilities.sum(-1), 1, atol=1e-5)
    np.testing.assert_array_equal(found.label, np.where(image, 2, 1))


def test_what_is_written_can_be_read_again(tmp_path):
    label = np.random.default_rng(0).integers(0, 3, (20, 30)).astype(np.uint8)
    image = Image.fromarray(np.full((20, 30, 3), 100, np.uint8))
    classes, overlay = segmentation_figures.draw(
        image, label, ["background", "cat", "dog"], tmp_path / "out", "in/pets.jpg"
    )
    assert (classes.name, overlay.name) == ("pets_classes.png", "pets_overlay.png")
    np.testing.assert_array_equal(np.asarray(Image.open(classes)), label)
    named = dict(tiles.shares(label, ["background", "cat", "dog"]))
    assert named["cat"] == pytest.approx((label == 1).mean())
