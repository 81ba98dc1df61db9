"""Predicting many images in batches is predicting each."""

import threading

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax import run
from cnn_jax.run import streaming
from cnn_jax.typing import Detections


class Network(nn.Module):
    """Scores of an image, of its pixels, or boxes, of one product each."""

    what: str

    @nn.compact
    def __call__(self, x, *, train):
        return nn.Dense(3)(x.reshape(len(x), -1) if self.what == "class" else x)

    def detect(self, outputs, size):
        place = outputs[:, 2, 2:4, 0] * 3 + 4  # [B, 2]
        boxes = jnp.stack([place, place, place + 5, place + 6], -1)
        labels = jnp.arange(2)[None] * jnp.ones((len(outputs), 1), int)
        return Detections(boxes, jax.nn.sigmoid(outputs[:, 1, :2, 0]), labels)


def predictor(what, **recipe):
    facts = run.Facts(
        task="x", num_classes=3, class_names=("a", "b", "c"), image_shape=(8, 12, 1),
        mean=(0.5,), std=(0.3,), fit="letterbox",
    )  # fmt: skip
    model = Network(what)
    variables = model.init(jax.random.key(0), jnp.zeros((1, 8, 12, 1)), train=False)
    kinds = {"class": (run.ClassPredictor, run.Recipe), "box": (run.BoxPredictor, None),
             "pixel": (run.PixelPredictor, run.SegmentationRecipe)}  # fmt: skip
    kind, settings = kinds[what]
    own = None if settings is None else settings(**recipe)
    return kind(model=model, variables=variables, facts=facts, recipe=own)


@pytest.fixture(scope="module")
def images():
    """Seven images of several sizes, the fourth of which is none."""
    rng = np.random.default_rng(0)
    made = [rng.integers(0, 255, (8 + i, 12 + 2 * i), np.uint8) for i in range(7)]
    return [*made[:3], np.zeros((0, 3), np.uint8), *made[3:]]


@pytest.mark.parametrize(
    ("what", "recipe", "options"),
    [
        ("class", {}, {}),
        ("box", {}, {"threshold": 0.2}),
        ("pixel", {"image_size": "8x12"}, {}),
        ("pixel", {}, {"overlap": 0.5}),
        ("pixel", {"image_size": "8x12"}, {"tile": 6}),
    ],
)
def test_each_answer_is_that_of_the_image_alone(what, recipe, options, images):
    opened = predictor(what, **recipe)
    for size in (1, 3, 16):
        answers = list(streaming.stream(opened, images, batch_size=size, **options))
        assert [image is given for image, given in zip(images, [a for a, _ in answers],
                                                       strict=True)] == [True] * 8  # fmt: skip
        for image, answer in answers:
            if not image.size:
                assert isinstance(answer, ValueError)
                continue
            alone = opened.predict(image, **options)
            pairs = zip(vars(answer).values() if what != "box" else answer,
                        vars(alone).values() if what != "box" else alone, strict=True)  # fmt: skip
            for own, other in pairs:
                if isinstance(own, np.ndarray):
                    np.testing.assert_allclose(own, other, atol=2e-5)


def test_few_are_held_at_a_time_and_a_stream_may_be_left(images):
    opened, read = predictor("class"), 0

    def many():
        nonlocal read
        for _ in range(1000):
            read += 1
            yield images[0]

    answers = streaming.stream(opened, many(), batch_size=4, threads=2)
    for _, _ in zip(range(10), answers, strict=False):
        assert read <= 10 + 4 * 4
    answers.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("cnn_jax.predict")]
    assert read < 30


def test_options_are_checked_before_an_image_is_read():
    for what, options, message in (
        ("class", {"batch_size": 0}, "batch_size=0"),
        ("pixel", {"overlap": 1}, "overlap=1"),
        ("box", {"threshold": 2}, "threshold=2"),
    ):
        with pytest.raises(ValueError, match=message):
            streaming.stream(predictor(what), iter(()), **options)
