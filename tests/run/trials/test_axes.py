"""Settings to vary, as text."""

import pytest

from cnn_jax import run
from cnn_jax.run.trials import axes, ranges


def values(text, kind=run.Recipe):
    return {
        name: axes.values_of(name, own, axes.field_of(name, kind, given="sweep"))
        for name, own in axes.parse(text, kind).items()
    }


def test_values_have_the_type_of_their_setting():
    assert values(
        "learning_rate=0.03, 1e-4;batch_size=32,1e2 ;nesterov=true,false;optimizer=sgd"
    ) == {
        "learning_rate": [0.03, 1e-4],
        "batch_size": [32, 100],
        "nesterov": [True, False],
        "optimizer": ["sgd"],
    }
    assert values("augment=flip,crop:4|flip|;step_epochs=30,60|50")["augment"] == [
        "flip,crop:4",
        "flip",
        "",
    ]
    assert values("step_epochs=30,60|50")["step_epochs"] == [(30.0, 60.0), (50.0,)]
    found = axes.combinations({"a": [1, 2], "b": ["x", "y"]})
    assert [tuple(each.values()) for each in found] == [(1, "x"), (1, "y"), (2, "x"), (2, "y")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "wanted settings"),
        ("learning_rate", "is no setting with its values"),
        ("learnin_rate=0.1", "'learnin_rate' is no setting of this task. Is learning_rate meant"),
        ("learning_rate=0.1;learning_rate=0.2", "given twice"),
        ("learning_rate=0.1,0.10", "learning_rate=0.1 is given twice"),
        ("learning_rate=0.1,x", "learning_rate='x': wanted a number"),
        ("learning_rate=0.1,", "learning_rate='': wanted a number"),
        ("batch_size=1.5", "wanted a whole number"),
        ("nesterov=maybe", "wanted true or false"),
        ("workdir=a,b", "workdir is the same for all runs"),
        ("seeds=1,2", "Write seed="),
        ("step_epochs=30,60", "Put bars between its values"),
    ],
)
def test_what_cannot_be_read_is_said(text, message):
    with pytest.raises(ValueError, match=message):
        values(text)


def test_names_of_runs_are_safe_and_apart():
    assert axes.called({"learning_rate": 0.1, "seed": 2}) == "learning_rate=0.1_seed=2"
    odd = [
        axes.called({"augment": text}) for text in ("../x", "..:x", "x" * 300, "x" * 301, "\0", "")
    ]
    assert len(set(odd)) == len(odd)
    assert all("/" not in name and len(name) < 130 and name.isprintable() for name in odd)
    with pytest.raises(ValueError, match="1,000,000 runs; the limit is 10,000"):
        axes.combinations({"a": range(1000), "b": range(1000)})


def test_ranges():
    recipe = run.Recipe()
    found = ranges.ranges_of("learning_rate=log:1e-3..1;momentum=0.8..0.99;batch_size=log:8..64;"
                             "optimizer=sgd,adamw;nesterov=true,false", recipe)  # fmt: skip
    assert (found["learning_rate"].ends, found["learning_rate"].log) == ((1e-3, 1.0), True)
    assert (found["batch_size"].ends, found["batch_size"].between) == ((8, 64), True)
    assert (found["optimizer"].ends, found["optimizer"].between) == (("sgd", "adamw"), False)
    for text, message in (
        ("learning_rate=1..0.1", "wanted LOW below HIGH"),
        ("learning_rate=log:0..1", "above 0 for log"),
        ("optimizer=log:a", "wanted a range"),
        ("learning_rate=x..1", "wanted a number"),
        ("step_epochs=1..2", "several numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            ranges.ranges_of(text, recipe)
