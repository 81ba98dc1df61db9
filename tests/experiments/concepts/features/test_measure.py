"""The images of the section that looks inside."""

import numpy as np
import pytest

from experiments.concepts.features import measure


def test_a_digit_and_its_shuffled_twin_share_an_image():
    rng = np.random.default_rng(0)
    images = (rng.random((20, 8, 8, 1)) > 0.5).astype(np.float32)
    digits = {"image": images, "label": np.arange(20) % 10}
    data = measure.beside(digits, seed=0)
    square = measure._square
    own, twin = square(data["place"]), square(data["twin"])
    assert not (own & twin).any()
    image = data["image"][..., 0]
    assert np.array_equal(image[own].reshape(-1, 8, 8), digits["image"][..., 0])
    assert (image * ~(own | twin)).sum() == 0
    whole = np.ones((len(own), 8, 8))
    assert measure._inside(whole, data["place"]) == pytest.approx(0.25)
