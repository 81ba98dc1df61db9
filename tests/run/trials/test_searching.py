"""Settings that Optuna chooses; without it the command says what to install."""

import importlib.util
import json

import pytest
from absl import flags

from cnn_jax import run
from experiments import command
from tests.run.trials.test_trials import QUIET, RECIPE


def test_without_optuna_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'cnn-jax\[optuna\]'"):
        run.search(RECIPE, "learning_rate=0.1..1", workdir=tmp_path)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--trials=3"], "--trials is the number of runs of --search"),
        (["--trials=3", "--sweep=seed=0,1"], "--trials is the number of runs of --search"),
        (["--search=seed=0..3", "--sweep=seed=0,1"], "give one of them"),
    ],
)
def test_a_number_of_trials_is_not_ignored(given, message):
    values = flags.FlagValues()
    command.define(run.Recipe, values)
    values(["program", *given])
    with pytest.raises(ValueError, match=message):
        command.train(run.Recipe, values)


def test_a_search_goes_on_and_counts_divergence_as_the_worst(tmp_path):
    optuna = pytest.importorskip("optuna", reason="Optuna is an extra")
    space, place = "learning_rate=log:1e-3..1e20;optimizer=sgd", tmp_path / "s"
    first = run.search(RECIPE, space, trials=2, workdir=place, program=QUIET)
    assert first.names == ("trial-0000", "trial-0001")
    backend = optuna.storages.journal.JournalFileBackend(str(place / "optuna.journal"))
    study = optuna.load_study(study_name="search", storage=optuna.storages.JournalStorage(backend))
    distributions = {
        "learning_rate": optuna.distributions.FloatDistribution(1e-3, 1e20, log=True),
        "optimizer": optuna.distributions.CategoricalDistribution(("sgd",)),
    }
    left = study.ask(distributions)  # a process that was killed at once
    again = run.search(RECIPE, space, trials=4, workdir=place, program=QUIET)
    assert again.names == tuple(f"trial-{i:04d}" for i in range(4))
    assert set(again.finished) | set(again.failed) == set(again.names)
    for trial in study.trials:
        name = f"trial-{trial.number:04d}"
        if name in again.failed:
            assert trial.state == optuna.trial.TrialState.PRUNED
            assert not again.comparison or name not in again.finished
        else:
            result = json.loads((place / name / "result.json").read_text())
            assert trial.value == result["val_accuracy"]
        flags = (place / name / "recipe.flags").read_text()
        assert f"--learning_rate={trial.params['learning_rate']}\n" in flags
    assert study.trials[left.number].params == left.params
    assert len(study.trials) == 4
    with pytest.raises(ValueError, match=r"has a search of learning_rate=log:1e-3\.\.1e20"):
        run.search(RECIPE, "learning_rate=0.1..1", workdir=place, program=QUIET)
    with pytest.raises(ValueError, match="trials=0"):
        run.search(RECIPE, space, trials=0, workdir=place, program=QUIET)
