"""Losses, metrics and plug-ins as settings of a recipe."""

import pytest

from cnn_jax import plugins, run
from cnn_jax.plugins import loading, records
from cnn_jax.run import agreement, settings

QUIET = run.Program(quiet=True)


@pytest.mark.parametrize(
    "given",
    ["cross_entropy+dice", "cross_entropy:1,dice:1.0", {"cross_entropy": 1, "dice": 1}],
)
def test_one_loss_is_one_text_however_it_is_written(given):
    recipe = run.SegmentationRecipe(loss=given)
    assert recipe.loss == "cross_entropy+dice"
    earlier = settings.parse_flagfile(settings.to_flagfile(run.SegmentationRecipe()))
    assert settings.differences(recipe, earlier) == {}
    assert settings.from_flagfile(run.SegmentationRecipe, earlier) == recipe


def test_another_loss_is_another_experiment():
    earlier = settings.parse_flagfile(settings.to_flagfile(run.Recipe()))
    now = run.Recipe(loss={"cross_entropy": 1, "focal": 0.5})
    assert settings.differences(now, earlier) == {
        "loss": "`loss` was cross_entropy and is now cross_entropy:1,focal:0.5"
    }
    del earlier["loss"], earlier["plugin"], earlier["metrics"]  # a run of an earlier version
    assert settings.differences(now, earlier) == {}


def test_metrics_may_change_when_a_run_is_resumed_and_plugins_may_not():
    earlier = settings.parse_flagfile(settings.to_flagfile(run.Recipe()))
    now = run.Recipe(metrics=["brier", "f1"], plugin=["a", "b"])
    assert (now.metrics, now.plugin) == ("brier,f1", "a,b")
    assert settings.differences(now, earlier) == {"plugin": "`plugin` was '' and is now a,b"}


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"loss": "crossentropy"}, "no loss 'crossentropy'; did you mean cross_entropy"),
        ({"loss": "dice"}, r"'dice' \(cnn_jax.losses.named\) fails for logits"),
        ({"metrics": "brire"}, "no metric 'brire'; did you mean brier"),
        ({"optimizer": "sdg"}, "no optimizer 'sdg'; did you mean sgd"),
        ({"schedule": "cosin"}, "no schedule 'cosin'; did you mean cosine"),
        ({"model": "resnet88"}, "no model 'resnet88': the nearest names are resnet8"),
        ({"plugin": "no_such_plugin"}, "There is no plug-in 'no_such_plugin'"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest_before_training(chosen, message, tmp_path):
    with pytest.raises(ValueError, match=message) as caught:
        run.train(run.Recipe(**chosen), workdir=tmp_path / "here", program=QUIET)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "here").exists()


@pytest.mark.parametrize("chosen", [{"loss": 3}, {"metrics": 1}, {"plugin": 2.5}, {"loss": None}])
def test_what_is_no_text_and_no_names(chosen):
    with pytest.raises(ValueError, match="wanted a text such as"):
        run.Recipe(**chosen)


def test_a_metric_that_cannot_be_computed_is_refused_before_training(tmp_path):
    recipe = run.DetectionRecipe(metrics="f1")
    with pytest.raises(ValueError, match=r"'f1' .* is for classification and segmentation"):
        run.train(recipe, workdir=tmp_path / "here", program=QUIET)
    assert not (tmp_path / "here").exists()


def test_a_plugin_that_changed_is_said_and_compared_between_processes(tmp_path, monkeypatch):
    one = plugins.Plugin("nets", "nets", "nets.py", "0f" * 8, "", {"model": ("mine",)})
    monkeypatch.setattr(loading, "_LOADED", {"nets": one})
    assert agreement.plugin_files() == {"the plug-in nets": "0f" * 8}
    monkeypatch.setattr(records, "added", lambda: [("model", "mine", "nets")])
    recorded = plugins.record()
    assert plugins.changes(recorded) == ""
    recorded["nets"]["digest"] = "00" * 8
    assert plugins.changes(recorded) == "The plug-in nets has changed since the checkpoint."
