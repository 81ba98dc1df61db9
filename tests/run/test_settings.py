"""A recipe and its text."""

import dataclasses

import pytest

from cnn_jax import run
from cnn_jax.run import settings

RECIPES = [run.Recipe, run.SegmentationRecipe, run.DetectionRecipe]


@pytest.mark.parametrize("kind", RECIPES)
def test_there_and_back(kind):
    recipe = kind(seed=3, learning_rates=(0.1, 1e-7), remat=True, epochs=1, dataset="folder:/a b")
    text = settings.to_flagfile(recipe)
    assert settings.from_flagfile(kind, settings.parse_flagfile(text)) == recipe
    assert settings.counted(text) == len(text.splitlines()) - 1


def test_settings_of_other_versions():
    recipe = settings.from_flagfile(run.Recipe, {"seed": "3", "of_tomorrow": "1"})
    assert recipe == run.Recipe(seed=3, validation_split="")  # which older versions did not know
    with pytest.raises(ValueError, match="seed='three' of the run's recipe is no int"):
        settings.from_flagfile(run.Recipe, {"seed": "three"})
    with pytest.raises(ValueError, match="remat='yes' of the run's recipe is no bool"):
        settings.from_flagfile(run.Recipe, {"remat": "yes"})


def test_other_defaults_and_nothing_else():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    @run.with_defaults(epochs=9.0)
    class Mine(run.TrainingRecipe):
        extra: int = run.setting(1, "Something of mine.")

    own, theirs = ({f.name: f for f in dataclasses.fields(k)} for k in (Mine, run.TrainingRecipe))
    assert (Mine().epochs, run.TrainingRecipe().epochs) == (9.0, 10.0)
    assert own["epochs"].metadata == theirs["epochs"].metadata
    assert list(own) == [*theirs, "extra"]
    assert Mine(epochs=1).epochs == 1.0


def test_what_changed_is_said_with_both_values():
    earlier = settings.parse_flagfile(settings.to_flagfile(run.Recipe()))
    now = run.Recipe(seed=1, nesterov=False, log_every=3)
    assert list(settings.differences(now, earlier).values()) == [
        "`seed` was 0 and is now 1",
        "`nesterov` was True and is now False",
    ]
    del earlier["seed"]  # an older version had no such setting
    assert "seed" not in settings.differences(now, earlier)
