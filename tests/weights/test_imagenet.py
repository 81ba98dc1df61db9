"""The class names: how many, and a few that are easy to know."""

import pytest

from cnn_jax.weights.imagenet import class_names


def test_class_names():
    names = class_names()
    assert len(names) == len(set(names)) == 1000
    assert names[0] == "tench"
    assert names[282] == "tiger cat"
    assert names[985] == "daisy"
    assert names[999] == "toilet tissue"


def test_equal_to_torchvisions():
    models = pytest.importorskip("torchvision").models
    weights = models.get_model_weights("resnet18").DEFAULT
    assert list(class_names()) == weights.meta["categories"]
