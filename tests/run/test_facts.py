"""Facts go into checkpoints as JSON and come back."""

import json

import pytest

from cnn_jax.run import Facts

WHOLE = Facts(
    task="detection",
    model="detector_small",
    dataset="coco:x",
    num_classes=2,
    class_names=("cat", "dog"),
    image_shape=(48, 64, 3),
    mean=(0.1, 0.2, 0.3),
    std=(1.0, 1.0, 1.0),
    fit="letterbox",
    data={"train": {"examples": 3, "fingerprint": "ab"}},
    more={"keypoints": ["nose"]},
)


def test_there_and_back():
    assert Facts.from_json(json.loads(json.dumps(WHOLE.to_json()))) == WHOLE


def test_what_a_task_lacks_is_left_out():
    assert Facts(task="mine").to_json() == {"task": "mine"}
    assert Facts.from_json({"task": "mine"}) == Facts(task="mine")


def test_facts_of_older_checkpoints_are_of_classification():
    saved = {"model": "mlp", "num_classes": 10, "class_names": ["0"], "mean": [0]}
    facts = Facts.from_json(saved)
    assert facts.task == "classification"
    assert facts.class_names == ("0",)


def test_what_is_more_hides_nothing():
    assert Facts(task="a", model="b", more={"model": "c"}).to_json()["model"] == "b"


@pytest.mark.parametrize(
    ("name", "value"), [("num_classes", "ten"), ("class_names", "cat"), ("data", 3), ("task", 1)]
)
def test_a_fact_of_another_kind_is_named(name, value):
    with pytest.raises(ValueError, match=f"has {name} {value!r}, which cannot be"):
        Facts.from_json({name: value})
