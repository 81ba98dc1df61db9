"""cnn_jax.run as a notebook uses it: train, resume, open, predict, evaluate."""

import contextlib
import dataclasses
import json
import os
import signal
import threading

import jax
import numpy as np
import pytest
from PIL import Image

from cnn_jax import run
from cnn_jax.data.readers import digit_scenes
from cnn_jax.run import machine
from tests.run import as_command

QUICK = {
    "dataset": "digits",
    "model": "mlp",
    "steps": 40,
    "batch_size": 64,
    "augment": "",
    "figures": False,
    "devices": 1,
    "cpu_convolutions": False,
    "compilation_cache": "",
    "test_split": "test[:200]",
}
QUIET = run.Program(quiet=True)


def recipe(**changes):
    return run.Recipe(**{**QUICK, **changes})


def tree(where):
    """Every file and folder below a directory, with its size and time."""
    return {
        (str(path.relative_to(where)), path.stat().st_mtime_ns, path.stat().st_size)
        for path in where.rglob("*")
    }


def rows(where):
    """The rows of metrics.jsonl, without what the clock says."""
    lines = (where / "metrics.jsonl").read_text().splitlines()
    return [
        {name: value for name, value in json.loads(line).items() if not name.startswith("wall_")}
        for line in lines
    ]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    where = tmp_path_factory.mktemp("run") / "mlp"
    return run.train(recipe(ema_decay=0.9), workdir=where, program=QUIET)


@pytest.fixture(scope="module")
def digits():
    """Test images uint8 [200, 8, 8, 1], and their labels."""
    from cnn_jax import data

    source = data.load_source("digits", "test[:200]")
    batch = data.eval_batches(source, data.image_loader(source), batch_size=200)[0]
    return batch["image"], batch["label"]


def test_a_result_says_where_what_and_how_well(done):
    assert done.interrupted is None
    assert done.step == 40
    assert done.json == json.loads((done.directory / "result.json").read_text())
    assert done.metrics["accuracy"] == done.json["test_accuracy"]
    assert str(done.directory) == done.place


def test_the_command_has_the_same_numbers(done, tmp_path):
    same = recipe(ema_decay=0.9, workdir=str(tmp_path))
    assert as_command.run(same, run.TASKS["classification"].make_experiment(same)) == 0
    assert rows(tmp_path) == rows(done.directory)
    assert (tmp_path / "recipe.flags").read_text() == (done.directory / "recipe.flags").read_text()


def test_a_finished_run_is_evaluated_again_and_not_trained(done):
    again = run.train(recipe(ema_decay=0.9), workdir=done.directory, program=QUIET)
    assert again.metrics == done.metrics
    assert again.step == 40


def test_an_interrupted_run_goes_on_bit_for_bit(done, tmp_path, monkeypatch):
    from cnn_jax.data import pipeline

    make, part = pipeline.TrainBatches._make, recipe(ema_decay=0.9, checkpoint_every_steps=5)

    def stopping(self, at):
        if at == 15:
            os.kill(os.getpid(), signal.SIGINT)  # a notebook's "interrupt"
        return make(self, at)

    with monkeypatch.context() as once:
        once.setattr(pipeline.TrainBatches, "_make", stopping)
        stopped = run.train(part, workdir=tmp_path, program=QUIET)
    assert stopped.interrupted == signal.SIGINT
    assert 10 < stopped.step < 40
    assert stopped.metrics == stopped.json == {}
    finished = run.train(part, workdir=tmp_path, program=QUIET)
    assert finished.metrics == done.metrics
    assert rows(tmp_path) == rows(done.directory)


def test_nothing_is_left_behind(tmp_path):
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")

    def now():
        return (
            [signal.getsignal(number) for number in numbers],
            [getattr(jax.config, name) for name in names],
            {name: os.environ.get(name) for name in ("XLA_FLAGS", "MPLBACKEND")},
        )

    before, threads = now(), threading.active_count()
    chosen = recipe(steps=2, compilation_cache=str(tmp_path / "cache"))
    run.train(chosen, workdir=tmp_path / "run", program=QUIET)
    assert now() == before
    assert (tmp_path / "cache").is_dir()
    assert not [t for t in threading.enumerate() if t.name in ("watchdog", "signals")]
    assert threading.active_count() <= threads + 2  # Orbax keeps one or two


def test_in_another_thread_and_quietly(tmp_path, capsys):
    results = []
    thread = threading.Thread(
        target=lambda: results.append(run.train(recipe(steps=2), workdir=tmp_path, program=QUIET))
    )
    thread.start()
    thread.join()
    assert results[0].step == 2
    assert capsys.readouterr() == ("", "")


def test_it_prints_where_it_is_told(tmp_path, capsys):
    run.train(recipe(steps=2), workdir=tmp_path)
    said = capsys.readouterr().out
    assert "test_accuracy" in said
    assert "--" not in said.replace("---", "")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "resnet19"}, "resnet18"),
        ({"batch_size": 7, "devices": 8}, r"batch_size=7 cannot be split evenly over 8 devices"),
        ({"epochs": "three"}, r"epochs='three': wanted a number"),
        ({"steps": 2.5}, r"steps=2\.5: wanted a whole number"),
        ({"crop": "left"}, r"crop='left': wanted one of random_resized"),
        ({"figures": 1}, r"figures=1: wanted True or False"),
        ({"learning_rates": 0.1}, r"learning_rates=0\.1: wanted numbers"),
        ({"model": 8}, r"model=8: wanted a string"),
        ({"learning_rate": float("nan")}, r"learning_rate=nan: it must be finite"),
        ({"dataset": "a\nb"}, "it must be one line"),
        ({"seeds": 0}, r"seeds=0: it must be at least 1"),
        ({"cpu_devices": 5}, r"cpu_devices=5: JAX has started already, with 8 CPU device"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_parameter(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message) as error:
        run.train(recipe(**changes), workdir=tmp_path / "run", program=QUIET)
    assert "\n" not in str(error.value)
    assert "--" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keep": 0}, r"^keep=0: it must be at least 1\.$"),
        ({"ema_decay": 1.0}, r"^ema_decay=1\.0: it must be at least 0 and below 1\.$"),
        ({"seed": 2**32}, r"^seed=4294967296: .* at least -2147483648 and below 4294967296"),
        ({"step_epochs": (1.0, -1.0)}, r"^step_epochs=-1\.0: it must be at least 0"),
        *(
            ({name: -1}, rf"^{name}=-1(\.0)?: it must be at least 0\.$")
            for name in (
                "workers", "backbone_factor", "bias_factor", "learning_rate_per", "warmup_epochs",
                "final_learning_rate", "step_factor", "log_every", "evaluate_every_steps",
                "evaluate_every_epochs", "checkpoint_every_steps", "checkpoint_every_epochs",
            )
        ),
    ],
)  # fmt: skip
def test_a_number_out_of_range_is_no_recipe(changes, message):
    with pytest.raises(ValueError, match=message):
        recipe(**changes)
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(run.DetectionRecipe(), **changes)


def test_a_run_made_before_settings_had_bounds_is_read():
    from cnn_jax.run import settings

    older = {"keep": "0", "evaluate_every_epochs": "-1.0", "seed": "7"}
    assert settings.from_flagfile(run.Recipe, older) == run.Recipe(
        keep=1, evaluate_every_epochs=0.0, seed=7, validation_split=""
    )


def test_what_is_no_recipe_no_program_and_no_place():
    for wrong in (None, {"dataset": "digits"}, run.Recipe):
        with pytest.raises(ValueError, match=r"^recipe=.*: wanted a recipe, such as run.Recipe"):
            run.train(wrong)
    with pytest.raises(ValueError, match=r"^program='quiet': wanted a Program"):
        run.train(recipe(), program="quiet")
    with pytest.raises(ValueError, match=r"^workdir=3: wanted a string"):
        run.train(recipe(), workdir=3)
    for place in (None, 3, ""):
        with pytest.raises(ValueError, match=r"^place=.*: wanted a run directory, or its"):
            run.open(place)
    for plugin in (None, 3, [3]):
        with pytest.raises(ValueError, match=r"^plugin=.*: wanted names of modules"):
            run.open("none", plugin=plugin)


def test_numbers_of_another_kind_are_the_same_setting(tmp_path):
    numpy = run.Recipe(epochs=3, batch_size=np.int64(8), learning_rates=[0.1], workdir=tmp_path)
    assert numpy == run.Recipe(
        epochs=3.0, batch_size=8, learning_rates=(0.1,), workdir=str(tmp_path)
    )
    assert type(numpy.epochs) is float
    assert type(numpy.batch_size) is int


def test_a_recipe_of_nobody():
    with pytest.raises(ValueError, match=r"no task with recipes of type TrainingRecipe"):
        run.train(run.TrainingRecipe())


# --- opening ---


def test_opening_writes_nothing_and_needs_no_data(done, monkeypatch):
    from cnn_jax import data

    monkeypatch.setattr(data, "load_source", None)
    before = tree(done.directory)
    found = run.open(done.place)
    found.predict(np.zeros((8, 8), np.uint8))
    assert tree(done.directory) == before
    assert found.step == 40
    assert found.averaged
    assert repr(found) == f"<ClassPredictor: mlp on digits, step 40 of {done.place}, averaged>"
    assert found.recipe == recipe(ema_decay=0.9)
    assert found.facts.model == "mlp"
    assert found.facts.task == "classification"
    raw = run.open(done.place, weights="raw")
    assert not raw.averaged
    pair = (found.variables["params"], raw.variables["params"])
    assert any(not np.array_equal(*two) for two in zip(*map(jax.tree.leaves, pair), strict=True))


def test_best_last_and_a_step(tmp_path):
    chosen = recipe(steps=6, checkpoint_every_steps=2, keep=3, evaluate_every_epochs=0.0)
    run.train(chosen, workdir=tmp_path, program=QUIET)
    assert run.open(tmp_path, checkpoint="last").step == 6
    assert run.open(tmp_path, checkpoint=4).step == 4
    with pytest.raises(ValueError, match=r"checkpoint=3: .* of the steps 2, 4, 6"):
        run.open(tmp_path, checkpoint=3)
    with pytest.raises(ValueError, match="keeps no average"):
        run.open(tmp_path, weights="averaged")
    with pytest.raises(ValueError, match="checkpoint='newest': wanted"):
        run.open(tmp_path, checkpoint="newest")
    with pytest.raises(ValueError, match="weights='ema': wanted"):
        run.open(tmp_path, weights="ema")


def test_a_run_that_is_going_on_is_opened(tmp_path, monkeypatch):
    """While it holds its directory; and a checkpoint that it deletes meanwhile is no error."""
    from cnn_jax.run import directory
    from cnn_jax.train import checkpoint

    chosen = recipe(steps=4, checkpoint_every_steps=2, workdir=str(tmp_path))
    run.train(chosen, program=QUIET)
    restore, deleted = checkpoint.Checkpoints.restore_as_saved, []

    def racing(self, step):
        if not deleted:
            deleted.append(step)
            import shutil

            shutil.rmtree(tmp_path / "checkpoints" / str(step))
        return restore(self, step)

    with contextlib.ExitStack() as held:
        directory.open_run_directory(chosen, name="x", held=held)
        monkeypatch.setattr(checkpoint.Checkpoints, "restore_as_saved", racing)
        assert run.open(tmp_path, checkpoint="last").step == 2
    assert deleted == [4]


def test_no_run(tmp_path):
    with pytest.raises(ValueError, match="is no run directory"):
        run.open(tmp_path)
    with pytest.raises(ValueError, match="is no run directory"):
        run.open(tmp_path / "none")
    assert not list(tmp_path.iterdir())


# --- predicting ---


def test_every_kind_of_image_gives_the_same(done, digits, tmp_path):
    images, labels = digits
    found = run.open(done.place)
    Image.fromarray(images[0, ..., 0]).save(tmp_path / "digit.png")
    kinds = [
        images[0],
        images[0, ..., 0],
        np.repeat(images[0], 3, axis=-1),
        Image.fromarray(images[0, ..., 0]),
        tmp_path / "digit.png",
        str(tmp_path / "digit.png"),
    ]
    several = found.predict(kinds)
    for one in several:
        np.testing.assert_allclose(one.probabilities, several[0].probabilities, atol=1e-6)
    assert several[0].probabilities.sum() == pytest.approx(1)
    assert several[0].class_names == found.facts.class_names
    assert several[0].top(3)[0] == (several[0].name, several[0].probabilities.max())
    whole = found.predict(images)
    assert len(whole) == 200
    right = np.mean([one.label == label for one, label in zip(whole, labels, strict=True)])
    assert right == pytest.approx(done.metrics["accuracy"], abs=1e-6)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 8)), "wanted uint8"),
        (np.zeros((8, 8, 4), np.uint8), r"shape \(8, 8, 4\)"),
        (np.zeros((0, 8), np.uint8), r"shape \(0, 8\)"),
        ("none.png", "There is no image none.png"),
        (Image.new("F", (8, 8)), "floating-point"),
    ],
)
def test_what_is_no_image_is_refused(done, image, message):
    with pytest.raises(ValueError, match=message):
        run.open(done.place).predict(image)


# --- evaluating ---


def test_the_figures_of_the_run_and_of_other_data(done):
    before = tree(done.directory)
    figures = run.evaluate(done.place, checkpoint="last")
    assert figures == done.metrics  # to the last bit
    other = run.evaluate(done.place, split="train[:100]", eval_batch_size=50)
    assert set(other) == set(figures)
    assert tree(done.directory) == before
    with pytest.raises(ValueError, match=r"shape \[40, 1\], .* trained on \[8, 8, 1\]"):
        run.evaluate(done.place, dataset="mnist1d", split="test")
    with pytest.raises(ValueError, match="batchsize: no setting"):
        run.evaluate(done.place, batchsize=3)
    for unused in ({"model": "lenet5"}, {"learning_rate": 1.0}, {"augment": "flip"}):
        with pytest.raises(ValueError, match=f"{next(iter(unused))}: a setting of the training"):
            run.evaluate(done.place, **unused)


def test_several_seeds_are_a_result_too(tmp_path):
    found = run.train(recipe(steps=2, seeds=2, mixup=0.0), workdir=tmp_path, program=QUIET)
    assert 0 <= found.metrics["accuracy"] <= 1
    assert len(found.json["runs"]) == 2


# --- other tasks ---


def test_segmentation_predicts_at_the_size_of_the_image(tmp_path, monkeypatch):
    monkeypatch.setattr(digit_scenes, "SCENES", {"train": 8, "test": 4})
    small = {
        "data_dir": str(tmp_path / "sets"),
        "steps": 1, "batch_size": 4, "devices": 1, "figures": False, "compilation_cache": "",
        "cpu_convolutions": False, "train_split": "train[:8]", "test_split": "test[:4]",
    }  # fmt: skip
    image = np.random.default_rng(0).integers(0, 255, (40, 70), np.uint8)
    options = "width=4,depth=2"
    segment = run.SegmentationRecipe(**small, model_options=options)
    result = run.train(segment, workdir=tmp_path / "segment", program=QUIET)
    found = run.open(result.place).predict(image)
    assert found.label.shape == (40, 70)
    assert found.probabilities.shape == (40, 70, len(found.class_names))
    assert sum(share for _, share in found.shares()) == pytest.approx(1)
    with pytest.raises(ValueError, match=r"overlap=1: it must be in \[0, 1\)"):
        run.open(result.place).predict(image, overlap=1)
    assert run.evaluate(result.place, checkpoint="last") == result.metrics


def test_the_settings_of_jax_come_back_after_an_error(tmp_path):
    before = jax.config.jax_compilation_cache_dir

    def fails():
        with machine.caching(str(tmp_path / "cache")):
            assert jax.config.jax_compilation_cache_dir == str(tmp_path / "cache")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert jax.config.jax_compilation_cache_dir == before


def test_facts_come_back_as_they_were(done):
    facts = run.open(done.place).facts
    assert run.Facts.from_json(json.loads(json.dumps(facts.to_json()))) == facts
    with pytest.raises(dataclasses.FrozenInstanceError):
        facts.model = "other"


def test_sequences_are_predicted_as_arrays(tmp_path):
    chosen = recipe(
        dataset="mnist1d", train_split="train[:100]", test_split="test[:20]", steps=2, batch_size=50
    )
    run.train(chosen, workdir=tmp_path, program=QUIET)
    found = run.open(tmp_path)
    several = np.random.default_rng(0).normal(size=(3, 40, 1)).astype(np.float32)
    assert len(found.predict(several)) == 3
    one, first = found.predict(several[0]), found.predict(list(several))[0]
    np.testing.assert_array_equal(one.probabilities, first.probabilities)
    with pytest.raises(ValueError, match=r"shape \[41, 1\]; wanted an array of the shape \[40, 1"):
        found.predict(np.zeros((41, 1), np.float32))
    with pytest.raises(ValueError, match="wanted uint8 or floats"):
        found.predict(np.zeros((40, 1), np.int64))
    with pytest.raises(ValueError, match=r"trained on sequences of shape \[40, 1\]"):
        found.predict("digit.png")


def test_a_task_made_of_the_parts_of_another_is_opened_as_itself(tmp_path):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Scaled(run.Recipe):
        scale: float = run.setting(1.0, "Scale of the depth, in metres.")

    run.TASKS.register("scaled", run.TASKS["classification"]._replace(recipe=Scaled))
    try:
        chosen = Scaled(**{**QUICK, "steps": 2}, scale=2.0)
        result = run.train(chosen, workdir=tmp_path, program=QUIET)
        found = run.open(tmp_path)
        assert (found.facts.task, found.recipe) == ("scaled", chosen)
        assert run.evaluate(tmp_path) == result.metrics
    finally:
        run.TASKS.forget("scaled")


@pytest.mark.slow
def test_detection_from_code(tmp_path):
    chosen = run.DetectionRecipe(
        steps=2, batch_size=4, devices=1, figures=False, compilation_cache="",
        cpu_convolutions=False, train_split="train[:8]", test_split="test[:4]",
    )  # fmt: skip
    result = run.train(chosen, workdir=tmp_path, program=QUIET)
    found = run.open(result.place).predict(np.zeros((40, 70), np.uint8), threshold=0.0)
    assert found.boxes.shape == (len(found.scores), 4)
    assert (found.boxes[:, 2] <= 70).all()
    assert run.evaluate(result.place, checkpoint="last") == pytest.approx(
        result.metrics, nan_ok=True
    )
