"""Several seeds and learning rates by one command: each the run that it would be alone."""

import dataclasses
import json

import numpy as np
import pytest
from absl import flags

from cnn_jax.analysis import interval
from cnn_jax.run import Program, classification, sweep, sweep_result
from cnn_jax.train import loop
from experiments import recipe as recipes
from tests.run import as_command

SETTINGS = [
    "--dataset=mnist1d",
    "--train_split=train[:400]",
    "--test_split=test[:100]",
    "--model=tcn",
    "--model_options=channels=(6,6),kernel=3,drop_rate=0.2",
    "--steps=12",
    "--batch_size=50",
    "--log_every=6",
    "--evaluate_every_steps=6",
    "--warmup_epochs=0.5",
    "--learning_rate=0.05",
    "--ema_decay=0.9",
    "--augment=noise:0.1",
    "--checkpoint_every_epochs=0",
    "--devices=1",
    "--nofigures",
]


def parsed(*arguments):
    values = flags.FlagValues()
    recipes.define_flags(classification.ClassificationRecipe, values)
    values(["program", *SETTINGS, *arguments])
    return recipes.from_flags(classification.ClassificationRecipe, values)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """(seed, learning rate) -> the result and the rows of an ordinary run."""
    found = {}
    for seed, rate in ((3, 0.05), (4, 0.02)):
        where = tmp_path_factory.mktemp("alone")
        recipe = parsed(f"--seed={seed}", f"--learning_rate={rate}", f"--workdir={where}")
        assert as_command.run(recipe, classification.make_experiment(recipe)) == 0
        rows = [json.loads(line) for line in (where / "metrics.jsonl").read_text().splitlines()]
        found[seed, rate] = json.loads((where / "result.json").read_text()), rows
    return found


@pytest.mark.parametrize("side_by_side", [True, False])
def test_each_run_has_the_numbers_of_its_single_run(alone, tmp_path, side_by_side):
    recipe = parsed(
        "--seed=3", "--seeds=2", "--learning_rates=0.05,0.02", f"--workdir={tmp_path / 'runs'}"
    )
    experiment = classification.make_experiment(recipe)
    assert not sweep.run_many(recipe, experiment, side_by_side=side_by_side).interrupted
    result = json.loads((tmp_path / "runs" / "result.json").read_text())
    rows = [json.loads(row) for row in (tmp_path / "runs" / "runs.jsonl").read_text().splitlines()]
    assert len(result["runs"]) == 4
    for (seed, rate), (single, metrics) in alone.items():
        own = {"seed": seed, "learning_rate": rate}
        run = next(row for row in result["runs"] if row.items() >= own.items())
        assert run["test_loss"] == pytest.approx(single["test_loss"], rel=1e-5)
        assert run["test_accuracy"] == single["test_accuracy"]
        at_six = next(row for row in rows if row.items() >= {**own, "step": 6}.items())
        trained = [row["loss"] for row in metrics if row["split"] == "train"]
        assert at_six["train_loss"] == pytest.approx(trained[0], rel=1e-5)
        assert run["train_loss"] == pytest.approx(trained[1], rel=1e-5)


def test_what_is_left_behind(tmp_path):
    recipe = dataclasses.replace(
        parsed("--seeds=3", f"--workdir={tmp_path}"), steps=2, evaluate_every_steps=1, figures=True
    )
    assert as_command.run(recipe, classification.make_experiment(recipe)) == 0
    result = json.loads((tmp_path / "result.json").read_text())
    (row,) = result["summary"]
    values = [run["test_loss"] for run in result["runs"]]
    assert row["n"] == 3
    assert row["test_loss"]["mean"] == pytest.approx(np.mean(values))
    # Student's t of two degrees of freedom, 97.5 %: 4.3027 (any table)
    expected = 4.3027 * np.std(values, ddof=1) / 3**0.5
    assert row["test_loss"]["half_width_95"] == pytest.approx(expected, rel=1e-4)
    assert result["versions"]["jax"]
    assert len((tmp_path / "runs.jsonl").read_text().splitlines()) == 6
    assert (tmp_path / "seeds.png").read_bytes().startswith(b"\x89PNG")


def test_one_seed_is_an_ordinary_run(tmp_path):
    recipe = dataclasses.replace(parsed(f"--workdir={tmp_path}"), steps=2)
    assert as_command.run(recipe, classification.make_experiment(recipe)) == 0
    assert (tmp_path / "metrics.jsonl").exists()
    assert not (tmp_path / sweep.RUNS_FILE).exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds=0"], "seeds=0: it must be at least 1"),
        (["--learning_rates=0.1,-1"], "they must be positive"),
        (["--seeds=2", "--layout=pmap"], "start one run per seed"),
    ],
)
def test_what_cannot_be_done(tmp_path, arguments, message):
    recipe = parsed(*arguments, f"--workdir={tmp_path}")
    with pytest.raises(ValueError, match=message):
        as_command.run(recipe, classification.make_experiment(recipe))


@pytest.mark.parametrize("side_by_side", [True, False])
def test_all_runs_train_by_the_one_loop_and_none_stops_another(tmp_path, monkeypatch, side_by_side):
    fit, lanes = loop.fit, []

    def counting(*arguments, **more):
        lanes.append(more["steps"])
        return fit(*arguments, **more)

    monkeypatch.setattr(loop, "fit", counting)
    recipe = dataclasses.replace(
        parsed("--learning_rates=0.05,1e30", "--seeds=2", f"--workdir={tmp_path}"), steps=3
    )
    experiment = classification.make_experiment(recipe)
    sweep.run_many(recipe, experiment, side_by_side=side_by_side)
    assert lanes == [3] * (1 if side_by_side else 4)
    rows = [json.loads(line) for line in (tmp_path / sweep.RUNS_FILE).read_text().splitlines()]
    finite = {
        rate: [row["train_loss"] is not None for row in rows if row["learning_rate"] == rate]
        for rate in (0.05, 1e30)
    }
    assert finite == {0.05: [True, True], 1e30: [False, False]}  # at 1e30 they diverge


def test_interval():
    assert interval.half_width([1.0]) == 0
    # 1, 2, 3, 4: deviation 1.29099; t of three degrees of freedom: 3.1824
    assert interval.half_width([1, 2, 3, 4]) == pytest.approx(3.1824 * 1.29099 / 2, rel=1e-4)


def test_what_is_shown_of_a_few_runs_is_what_a_figure_can_be():
    said = {
        (0.75,): "0.7500",
        (0.5, 1.0): "0.7500 (0.5000 to 1.0000)",  # by Student's t 0.75 ± 3.18
        (0.5, 0.5): "0.5000 (0.5000 to 0.5000)",  # not ± 0
        (0.8, 0.9, 1.0): "0.9000 (0.8000 to 1.0000)",  # 1.1484
        (0.01, 0.02, 0.3): "0.1100 (0.0100 to 0.3000)",  # a loss is not below 0
        (0.93, 0.94, 0.95): "0.9400 ± 0.0248",
        (2.0, 2.2, 2.4): "2.2000 ± 0.4968",
        (0.5, float("nan"), 0.6): "nan",
    }
    assert {values: interval.spread(values).text() for values in said} == said
    apart = interval.spread((-0.1, 0.0, 0.1), reach=(-1, 1)).text("{:+.2f}".format)
    assert apart == "+0.00 ± 0.25"
    figure = {"test_accuracy": sweep_result._summary([0.5])}
    whole = {"summary": [{"learning_rate": 0.1, "n": 1, **figure}], "seeds": 1}
    assert list(sweep_result.table(whole).columns[1].cells) == ["0.5000"]  # no ± of one run


def test_a_name_with_braces_ends_no_finished_run(capsys):
    row = {"learning_rate": 0.1, "n": 2, "test_loss": {"mean": 1.0, "half_width_95": 0.1}}
    named = {"model": "mlp", "dataset": "folder:/a/{b}", "seeds": 2, "workdir": "/runs/{0}"}
    Program().console.print(sweep_result.table({**named, "summary": [row]}))
    assert "folder:/a/{b}" in "".join(capsys.readouterr().out.split())
