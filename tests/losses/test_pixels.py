"""Losses of pixels whose labels are at odds with their weights."""

import jax.numpy as jnp
import numpy as np

from cnn_jax.losses import pixels


def test_no_label_of_a_pixel_makes_the_loss_nan():
    """Seen in step 1,787 of the default run: the warp of a mask was computed twice, and a pixel at
    the edge counted in one and was IGNORE in the other."""
    logits, labels = jnp.zeros((1, 2, 2, 3)), jnp.array([[[0, 255], [-1, 2]]])
    found = pixels.cross_entropy_of_labels(logits, labels, jnp.ones((1, 2, 2)))
    np.testing.assert_allclose(found.total, 4 * np.log(3), rtol=1e-6)
    wrong = pixels.cross_entropy_of_labels(jnp.zeros((1, 3)), jnp.array([7]), jnp.ones(1))
    assert np.isnan(wrong.total)  # no plausible number over a class that is not there
