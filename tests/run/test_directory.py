"""A run whose directory is in a store: another machine goes on with it, bit for bit.

The store is fsspec's own, in memory; tests/run/test_run_in_s3.py tries S3.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import signal

import fsspec
import jax
import numpy as np
import pytest

from cnn_jax import run as run_library
from cnn_jax import stores
from cnn_jax.run import classification, directory, sweep
from cnn_jax.train import checkpoint, evaluation, lease, log
from experiments import entry
from tests.run import as_command, test_resume
from tests.run.test_resume import recipe, run, stop_at

QUICK = {"steps": 8, "evaluate_every_steps": 4, "checkpoint_every_steps": 2, "log_every": 3}


@pytest.fixture
def url(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return f"memory://{tmp_path.name}/run"


@pytest.fixture
def forget(tmp_path):
    """Makes this machine a fresh one."""
    return lambda: shutil.rmtree(tmp_path / "cache")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    where = tmp_path_factory.mktemp("undisturbed")
    assert run(where, **QUICK) == 0
    return where


def seen(url):
    """What a machine that has never seen the run finds: checkpoint, rows and result."""
    with directory.readable(url) as where:
        result = where / "result.json"
        return (
            test_resume.final_state(where),
            test_resume.results(where),
            json.loads(result.read_text()) if result.exists() else None,
        )


def test_a_fresh_machine_goes_on_bit_for_bit(undisturbed, url, forget, monkeypatch, capsys):
    with monkeypatch.context() as once:
        stop_at(5, once)
        assert run(url, **QUICK) == 0
    (stopped, _), rows, result = seen(url)
    assert stopped in (5, 6)
    assert result is None
    assert f"--workdir={url}" in capsys.readouterr().out.replace("\n", "")
    forget()
    assert run(url, **QUICK) == 0
    state, rows, result = seen(url)
    assert state == test_resume.final_state(undisturbed)
    assert rows == test_resume.results(undisturbed)
    reference = json.loads((undisturbed / "result.json").read_text())
    assert result["test_accuracy"] == reference["test_accuracy"]
    assert result["workdir"] == url
    # goodput, over both attempts
    assert (result["restarts"], reference["restarts"]) == (1, 0)
    for each in (result, reference):
        assert 0 < each["goodput"] < 1
        assert 0 < each["wall_seconds_productive"] < each["wall_seconds_total"]


def test_an_evaluation_whose_checkpoint_did_not_arrive_is_logged_once(
    undisturbed, url, forget, monkeypatch
):
    """Stopped during the evaluation at step 4, so that the store has that step without it; then
    killed when the log of it had gone up, and its checkpoint had not."""
    evaluate = evaluation.evaluate

    def stopped(*arguments, stop, **more):
        os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(*arguments, stop=stop, **more)

    with monkeypatch.context() as once:
        once.setattr(evaluation, "evaluate", stopped)
        assert run(url, **QUICK) == 0
    assert seen(url)[0][0] == 4
    rows = [row for row in log.read_rows(undisturbed / "metrics.jsonl") if row["step"] <= 4]
    assert rows[-1]["split"] == "test"
    stores.Store(url).write("metrics.jsonl", "".join(json.dumps(r) + "\n" for r in rows).encode())
    forget()
    assert run(url, **QUICK) == 0
    assert seen(url)[:2] == (
        test_resume.final_state(undisturbed),
        test_resume.results(undisturbed),
    )


def test_productive_seconds_are_kept_with_the_checkpoint(undisturbed):
    """Those of the result are those of its last checkpoint; a later look does not add to them."""
    manager = checkpoint.Checkpoints(undisturbed / "checkpoints")
    kept = manager.meta(manager.steps()[-1])["wall_productive"]
    manager.close()
    before = json.loads((undisturbed / "result.json").read_text())
    assert before["wall_seconds_productive"] == pytest.approx(kept, abs=0.05)
    assert run(undisturbed, **QUICK) == 0
    after = json.loads((undisturbed / "result.json").read_text())
    assert after["wall_seconds_productive"] == pytest.approx(kept, abs=0.05)
    for name in ("wall_seconds_total", "restarts"):
        assert after[name] == before[name]


@pytest.fixture
def finished(undisturbed, url):
    """A finished run, put into a store as it is."""
    with contextlib.ExitStack() as held:
        opened = directory.open_run_directory(recipe(url, **QUICK), name="x", held=held)
        for path in undisturbed.iterdir():
            if path.name not in ("checkpoints", "lock"):
                shutil.copy(path, opened.path)
        for path in (undisturbed / "checkpoints").iterdir():
            shutil.copytree(path, opened.path / "checkpoints" / path.name)
            opened.mirror.send_step(int(path.name))
    return url


def test_a_run_in_a_store_predicts(finished, undisturbed):
    there, here = run_library.open(finished), run_library.open(undisturbed)
    jax.tree.map(np.testing.assert_array_equal, there.variables, here.variables)
    assert there.facts == here.facts
    with pytest.raises(ValueError, match=r"^memory://.*/none is no run directory"):
        run_library.open(f"{finished}/none")


def test_looking_writes_nothing(finished):
    files = fsspec.filesystem("memory")
    root = finished.removeprefix("memory:/")
    before = {name: files.modified(name) for name in files.find(root)}
    run_library.open(finished)
    assert {name: files.modified(name) for name in files.find(root)} == before


def test_another_experiment_is_refused_by_the_name_of_the_store(finished, forget):
    forget()
    with pytest.raises(ValueError, match="`learning_rate` was ") as error:
        run(finished, **QUICK, learning_rate=0.1)
    assert str(error.value).startswith(finished)
    forget()
    with pytest.raises(ValueError, match="resume=False"):
        run(finished, **QUICK, resume=False)
    chosen = recipe(finished, **QUICK)
    experiment = classification.make_experiment(chosen)
    other = experiment._replace(facts=dataclasses.replace(experiment.facts, num_classes=11))
    with pytest.raises(ValueError, match=rf"in {finished}/checkpoints has num_classes 10"):
        as_command.run(chosen, other)


def test_a_second_run_is_refused(url):
    with contextlib.ExitStack() as held:
        directory.open_run_directory(recipe(url), name="x", held=held)
        with contextlib.ExitStack() as second, pytest.raises(ValueError, match="in use by process"):
            directory.open_run_directory(recipe(url), name="x", held=second)
    with contextlib.ExitStack() as held:
        directory.open_run_directory(recipe(url), name="x", held=held)


def test_the_dead_are_known_on_their_own_machine_and_waited_for_elsewhere(
    url, forget, monkeypatch, caplog
):
    def die(self):
        """As in a SIGKILL: the kernel lets go of the files, the store hears nothing."""
        self._stopped.set()

    monkeypatch.setattr(lease.Lease, "release", die)
    for heartbeat in (3600, 1):  # that the one who dies promises
        with contextlib.ExitStack() as held:
            chosen = recipe(url, heartbeat=heartbeat)
            directory.open_run_directory(chosen, name="x", held=held)
    assert "waiting" not in caplog.text
    forget()
    with contextlib.ExitStack() as held:
        directory.open_run_directory(recipe(url), name="x", held=held)
    assert "waiting up to" in caplog.text
    assert "is dead" in caplog.text


def test_what_an_outage_kept_here_is_not_lost(undisturbed, url, monkeypatch, capsys):
    upload, count = stores.Store.upload, [0]

    def fails_later(self, files):
        count[0] += 1
        if count[0] > 1:
            raise stores.StoreError(f"{self.url}: the store cannot be reached.")
        upload(self, files)

    with monkeypatch.context() as once:
        once.setattr(stores.Store, "upload", fails_later)
        with pytest.raises(checkpoint.CheckpointError, match="step 8 is on this disk, in /"):
            run(url, **QUICK)
    assert seen(url)[0][0] == 2
    assert run(url, **QUICK) == 0
    assert "Resuming at step 8 of 8" in capsys.readouterr().out
    state, rows, result = seen(url)
    assert state == test_resume.final_state(undisturbed)
    assert rows == test_resume.results(undisturbed)
    assert result["restarts"] == 1


def test_another_machine_in_between_makes_the_copy_old(undisturbed, url, tmp_path, monkeypatch):
    """What the copy has and the store has not is then of a past that did not happen."""
    with monkeypatch.context() as once:
        stop_at(3, once)
        assert run(url, **QUICK) == 0
    stale = stores.cache_directory("runs", url) / "copy/checkpoints/7"
    shutil.copytree(undisturbed / "checkpoints/8", stale)
    with monkeypatch.context() as other, contextlib.ExitStack() as held:
        other.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
        directory.open_run_directory(recipe(url, **QUICK), name="x", held=held)
    with contextlib.ExitStack() as held:
        directory.open_run_directory(recipe(url, **QUICK), name="x", held=held)
    assert not stale.exists()
    assert "checkpoints/7.json" not in stores.Store(url).entries()


def test_seeds_side_by_side_leave_their_rows_in_the_store(url, forget):
    chosen = classification.ClassificationRecipe(
        **{**test_resume.SETTINGS, **QUICK, "steps": 2, "workdir": url, "seeds": 2, "mixup": 0.0}
    )
    assert as_command.run(chosen, classification.make_experiment(chosen)) == 0
    store = stores.Store(url)
    assert {"recipe.flags", "result.json", sweep.RUNS_FILE} <= set(store.entries())


@pytest.mark.parametrize("flag", ["workdir", "output"])
def test_commands_that_write_to_a_disk_only_say_so(flag, monkeypatch):
    from absl import flags

    values = flags.FlagValues()
    flags.DEFINE_string(flag, "s3://bucket/x", "", flag_values=values)
    values.mark_as_parsed()
    monkeypatch.setattr(entry.flags, "FLAGS", values)
    with pytest.raises(ValueError, match=rf"--{flag}=s3://bucket/x: this command writes to a dir"):
        entry._check_places()


@pytest.mark.parametrize(
    ("own", "first", "answers", "stored"),
    [
        ("/data/run", "s3://bucket/run", ["/copy"], True),
        ("s3://bucket/run", "/data/run", [["/data/run", "mark"]], False),
    ],
)
def test_the_first_process_says_whether_it_is_a_store(own, first, answers, stored, monkeypatch):
    answers = iter([first, *answers])
    monkeypatch.setattr(directory.hosts, "several", lambda: True)
    monkeypatch.setattr(directory.hosts, "is_first", lambda: False)
    monkeypatch.setattr(directory.hosts, "from_first", lambda make: next(answers))
    monkeypatch.setattr(directory.workdirs, "sees", lambda *arguments: True)
    monkeypatch.setattr(directory.workdirs.agreement, "settle", lambda *arguments: None)
    with contextlib.ExitStack() as held:
        opened = directory.open_run_directory(recipe(own), name="x", held=held)
    assert (opened.stored, opened.place) == (stored, first)
