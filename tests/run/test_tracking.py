"""Rows handed on to trackers: all of them, to one tracked run, and never at the cost of the run."""

import contextlib
import importlib.util
import json
import signal
import sys
import time
import types

import pytest

from cnn_jax import run
from cnn_jax.run import directory, tracking, train_batch
from cnn_jax.run.tracking import Tracked

SETTINGS = {
    "dataset": "mnist1d", "model": "mlp", "steps": 6, "batch_size": 48, "log_every": 2,
    "evaluate_every_steps": 3, "figures": False, "survey": "off", "compilation_cache": "",
    "devices": 1, "checkpoint_every_epochs": 0.0,
}  # fmt: skip
ROWS = [
    {"step": 2, "split": "train", "loss": 0.5, "wall_seconds": 1.0},
    {"step": 4, "split": "test", "accuracy": 0.25, "iou/ca(t": float("nan"), "iou/d*g": 0.5},
]
RESULT = {"test_accuracy": 0.25, "chosen_by": "test_accuracy", "per_class": {"number": 2}}


class FakeRun:
    """A run of W&B or Aim that notes what it is told."""

    def __init__(self, options):
        self.options, self.told, self.ended = options, [], None
        self.id = self.hash = options.get("id") or options.get("run_hash") or "made"
        self.summary, self.kept, self.defined = {}, {}, []

    def define_metric(self, *name, **step):
        self.defined.append(name)

    def log(self, values):
        self.told.append(values)

    def track(self, value, *, name, step, context):
        self.told.append({"step": step, f"{context['subset']}/{name}": value})

    def __setitem__(self, key, value):
        self.kept[key] = value

    def finish(self, exit_code):
        self.ended = exit_code

    def close(self):
        self.ended = self.kept["ended"]


@pytest.fixture
def fakes(monkeypatch):
    """The runs of packages that stand in for W&B, Aim and MLflow."""
    runs = []

    def begin(**options):
        runs.append(FakeRun(options))
        return runs[-1]

    class Client:
        def __init__(self):
            runs.append(FakeRun({}))

        def update_run(self, name, status):
            runs[-1].id = name

        def create_run(self, experiment, run_name):
            return types.SimpleNamespace(info=types.SimpleNamespace(run_id="made"))

        def log_param(self, name, key, value):
            runs[-1].kept[key] = value

        def log_metric(self, name, key, value, step=None):
            assert not set(key) & set("()*")
            runs[-1].told.append({"step": step, key: value})

        def set_tag(self, name, key, value):
            runs[-1].summary[key] = value

        def set_terminated(self, name, status):
            runs[-1].ended = status

    def package(name, **content):
        made = types.ModuleType(name)
        made.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, made)

    package("wandb", init=begin)
    package("aim", Run=begin)
    package("mlflow", set_experiment=lambda name: types.SimpleNamespace(experiment_id="0"))
    package("mlflow.tracking", MlflowClient=Client)
    return runs


def rows_of(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def test_a_resumed_run_goes_on_with_the_same_tracked_run(fakes, tmp_path, monkeypatch):
    recipe, where = run.Recipe(track="wandb", **SETTINGS), tmp_path / "run"
    asked = []

    @contextlib.contextmanager
    def stops():
        yield lambda: signal.SIGTERM if len(asked) > 6 else asked.append(1)

    with monkeypatch.context() as patch:
        patch.setattr("cnn_jax.run.single.interruption.stop_signals", stops)
        assert run.train(recipe, workdir=where, program=run.Program(quiet=True)).interrupted
    done = run.train(recipe, workdir=where, program=run.Program(quiet=True))
    first, second = fakes
    assert first.options["config"]["learning_rate"] == recipe.learning_rate
    assert first.options["id"] is None
    assert second.options["id"] == "made"
    assert (first.ended, second.ended) == (1, 0)
    assert first.told
    told = {(each["step"], next(n for n in each if n != "step").partition("/")[0]): each
            for each in first.told + second.told}  # fmt: skip
    rows = rows_of(where)
    assert len(told) == len(rows)
    for row in rows:
        numbers = {n: v for n, v in row.items() if n not in ("step", "split") and v is not None}
        mine = dict(told[row["step"], row["split"]])
        mine.pop("step")
        assert mine == {f"{row['split']}/{name}": value for name, value in numbers.items()}
    assert second.summary["test_accuracy"] == done.json["test_accuracy"]
    assert second.summary["chosen_by"] == "test_accuracy"
    assert "per_class" not in second.summary
    # in a store too, on any machine
    assert {tracking.FILE, train_batch.FILE} <= set(directory.READ_AGAIN)


@pytest.mark.parametrize("name", ["mlflow", "aim"])
def test_every_tracker_is_told_the_same(name, fakes, tmp_path):
    recipe = run.Recipe(track=name, **SETTINGS)
    for resumed in (False, True):
        with Tracked(recipe, tmp_path, resumed=resumed) as tracked:
            for row in ROWS:
                tracked.row(row)
            if resumed:
                tracked.result(RESULT)
    with pytest.raises(ZeroDivisionError), Tracked(recipe, tmp_path, resumed=True):
        raise ZeroDivisionError
    first, second, third = fakes
    assert {"step": 2, "train/loss": 0.5} in first.told
    assert {"step": 4, "test/accuracy": 0.25} in second.told
    assert not [each for each in first.told if any("ca" in key for key in each)]  # undefined
    assert second.id == third.id == "made"
    kept = first.kept if name == "mlflow" else first.kept["settings"]
    assert str(kept["batch_size"]) == "48"
    ends = [each.ended for each in fakes]
    assert ends == (
        ["KILLED", "FINISHED", "FAILED"]
        if name == "mlflow"
        else ["interrupted", "finished", "failed"]
    )


def test_a_tracker_that_fails_is_said_once(fakes, tmp_path, monkeypatch, caplog):
    def fails(*values):
        raise ConnectionError("nobody\nanswers")

    monkeypatch.setattr(FakeRun, "log", fails)
    with Tracked(run.Recipe(track="wandb", **SETTINGS), tmp_path, resumed=False) as tracked:
        for row in ROWS:
            tracked.row(row)
        tracked.result(RESULT)
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("track=wandb fails: ConnectionError: nobody. The run goes on without")
    assert not fakes[0].summary
    monkeypatch.setattr(sys.modules["wandb"], "init", fails)
    with Tracked(run.Recipe(track="wandb", **SETTINGS), tmp_path, resumed=False) as tracked:
        tracked.row(ROWS[0])
    assert len(caplog.records) == 2


def test_what_cannot_be_tracked_is_said_before_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, "aim", raising=False)
    recipe = run.Recipe(track="aim", **SETTINGS)
    with pytest.raises(ValueError, match=r"track=aim: the package aim is not installed.*\[aim\]"):
        run.train(recipe, workdir=tmp_path / "run", program=run.Program(quiet=True))
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match="wanted one of '', wandb, mlflow, aim"):
        run.Recipe(track="tensorboard")


def handed_on(name, where):
    """Two attempts at a run with the real package; returns the name of the tracked run."""
    recipe = run.Recipe(track=name, **SETTINGS)
    with Tracked(recipe, where, resumed=False) as tracked:
        tracked.row(ROWS[0])
        assert tracked._tracker is not None
    with Tracked(recipe, where, resumed=True) as tracked:
        tracked.row(ROWS[1])
        tracked.result(RESULT)
        assert tracked._tracker is not None
    return json.loads((where / tracking.FILE).read_text())[name]


@pytest.mark.filterwarnings("ignore")  # of the packages
def test_weights_and_biases_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="pip install 'cnn-jax[wandb]'")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    name = handed_on("wandb", tmp_path)
    wanted = {b"train/loss", b"test/accuracy", b"batch_size", b"chosen_by"}
    until = time.monotonic() + 20  # its own process writes a moment later
    while wanted and time.monotonic() < until:
        time.sleep(0.2)
        files = (tmp_path / "wandb").glob(f"offline-run-*-{name}/run-{name}.wandb")
        content = b"".join(file.read_bytes() for file in files)
        wanted = {text for text in wanted if text not in content}
    assert not wanted


@pytest.mark.filterwarnings("ignore")
def test_mlflow_offline(tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="pip install 'cnn-jax[mlflow]'")
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    name = handed_on("mlflow", tmp_path)
    kept = MlflowClient().get_run(name)
    assert kept.data.params["batch_size"] == "48"
    assert kept.data.metrics["train/loss"] == 0.5
    assert kept.data.metrics["test/iou/d_g"] == 0.5
    assert kept.data.metrics["result/test_accuracy"] == 0.25
    assert kept.data.tags["chosen_by"] == "test_accuracy"
    assert kept.info.status == "FINISHED"
    (point,) = MlflowClient().get_metric_history(name, "test/accuracy")
    assert (point.step, point.value) == (4, 0.25)


@pytest.mark.filterwarnings("ignore")
def test_aim_offline(tmp_path, monkeypatch):
    aim = pytest.importorskip("aim", reason="pip install 'cnn-jax[aim]'")
    monkeypatch.setenv("AIM_REPO", str(tmp_path))
    name = handed_on("aim", tmp_path)
    kept = aim.Run(
        name, repo=str(tmp_path), system_tracking_interval=None
    )  # one that only reads wants an index, of `aim up`
    assert kept["settings", "batch_size"] == 48
    assert kept["result", "test_accuracy"] == 0.25
    found = {
        (each.name, each.context["subset"]): list(each.values.sparse_list()[1])
        for each in kept.metrics()
    }
    kept.close()
    assert found["loss", "train"] == [0.5]
    assert found["accuracy", "test"] == [0.25]
