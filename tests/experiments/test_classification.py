"""What a run leaves behind, and how it ends when the numbers do not hold."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from absl import flags
from PIL import Image
from tensorboard.backend.event_processing import event_accumulator

from cnn_jax import models
from cnn_jax.run import classification
from cnn_jax.run import settings as texts
from cnn_jax.run.optimisation import optimizer_of, plan_of, schedule_of
from cnn_jax.train import checkpoint, log, nonfinite
from experiments import recipe as recipes
from tests.run import as_command

SETTINGS = [
    "--model=resnet8",
    "--model_options=widths=(4,8,8)",
    "--steps=24",
    "--batch_size=64",
    "--log_every=6",
    "--evaluate_every_steps=12",
    "--compilation_cache=",
    "--devices=1",
]


def parsed(*arguments):
    """The recipe of a command line."""
    values = flags.FlagValues()
    flags.DEFINE_string("flagfile", "", "", flag_values=values)
    recipes.define_flags(classification.ClassificationRecipe, values)
    values(["program", *arguments])
    return recipes.from_flags(classification.ClassificationRecipe, values)


def run(*arguments):
    chosen = parsed(*arguments)
    return as_command.run(chosen, classification.make_experiment(chosen))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    where = tmp_path_factory.mktemp("run")
    assert run(*SETTINGS, f"--workdir={where}") == 0
    return where


def test_result(finished):
    result = json.loads((finished / "result.json").read_text())
    assert result["steps"] == 24
    assert 0 <= result["test_accuracy"] <= result["test_top5"] <= 1
    assert result["test_loss"] > 0
    assert result["seconds"] > 0
    assert result["images_per_second"] > 0
    assert result["versions"]["jax"]
    assert result["hardware"]["platform"] == "cpu"


def test_metrics_are_one_object_a_row_with_the_clock_apart(finished):
    rows = log.read_rows(finished / "metrics.jsonl")
    assert [row["step"] for row in rows if row["split"] == "train"] == [6, 12, 18, 24]
    assert [row["step"] for row in rows if row["split"] == "test"] == [12, 24]
    for row in rows:
        assert row["wall_seconds"] > 0
        assert {"loss"} <= row.keys()
    result = json.loads((finished / "result.json").read_text())
    assert rows[-1]["accuracy"] == result["test_accuracy"]


def test_tensorboard_reads_the_events(finished):
    events = event_accumulator.EventAccumulator(str(finished))
    events.Reload()
    scalars = [(event.step, event.value) for event in events.Scalars("test/accuracy")]
    rows = [row for row in log.read_rows(finished / "metrics.jsonl") if row["split"] == "test"]
    assert scalars == [(row["step"], pytest.approx(row["accuracy"])) for row in rows]


@pytest.mark.parametrize("name", ["learning_curves", "confusion_matrix", "filters", "predictions"])
def test_figures_are_pictures_with_something_on_them(finished, name):
    with Image.open(finished / f"{name}.png") as picture:
        assert min(picture.size) > 100
        assert len(np.unique(np.asarray(picture.convert("L")))) > 3


def test_flagfile_repeats_the_run(finished, tmp_path):
    again = parsed(f"--flagfile={finished / 'recipe.flags'}", f"--workdir={tmp_path}")
    assert texts.to_flagfile(again) == (finished / "recipe.flags").read_text()
    assert as_command.run(again, classification.make_experiment(again)) == 0

    def results(where):
        return [
            {name: value for name, value in row.items() if not name.startswith("wall_")}
            for row in log.read_rows(where / "metrics.jsonl")
        ]

    assert results(tmp_path) == results(finished)


def test_loss_that_is_no_number_stops_the_run(tmp_path):
    message = r"at step \d+, with a learning rate of 1e\+30"
    with pytest.raises(nonfinite.NonFiniteError, match=message):
        run(
            *SETTINGS, f"--workdir={tmp_path}", "--learning_rate=1e30", "--schedule=constant",
            "--warmup_epochs=0", "--checkpoint_every_steps=1",
        )  # fmt: skip
    manager = checkpoint.Checkpoints(tmp_path / "checkpoints")
    for step in manager.steps():  # whatever was kept is good
        state, _ = manager.restore_as_saved(step)
        assert state["step"] == step
    manager.close()
    assert not (tmp_path / "result.json").exists()


def test_every_recipe_file_is_read():
    folder = Path(recipes.__file__).parent / "recipes"
    for name in ("digits", "mnist_lenet5", "cifar10_resnet20", "cifar10_wrn16_4",
                 "imagenet_resnet50", "imagenet_resnet50_modern"):  # fmt: skip
        recipe = parsed(f"--flagfile={folder / name}.flags")
        schedule_of(recipe, 1000, 10.0)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--epochs=inf", "epochs=inf: it must be finite"),
        ("--learning_rate=nan", "learning_rate=nan: it must be finite"),
        ("--step_epochs=1,inf", "step_epochs=inf: it must be finite"),
        ("--epochs=1e307", r"epochs=1e\+307 is inf steps; the limit is 2,147,483,647"),
        ("--epochs=1e8", r"epochs=1e\+08 is 1e\+10 steps; the limit is 2,147,483,647"),
        ("--steps=3000000000", "steps=3000000000: it must be at most 2,147,483,647"),
        ("--step_epochs=1,1e307", r"step_epochs=1e\+307 is inf steps"),
        ("--warmup_epochs=1e307", r"warmup_epochs=1e\+307 is inf steps"),
        ("--evaluate_every_epochs=1e307", r"evaluate_every_epochs=1e\+307 is inf steps"),
    ],
)
def test_times_beyond_all_counting_are_named(flag, message):
    def begin():
        recipe = parsed(flag)
        schedule_of(recipe, plan_of(recipe, 100.0).steps, 100.0)

    with pytest.raises(ValueError, match=message):
        begin()


def test_digits_recipe_is_the_default():
    file = Path(recipes.__file__).parent / "recipes" / "digits.flags"
    assert parsed(f"--flagfile={file}") == classification.ClassificationRecipe()


def test_a_new_last_layer_begins_small_and_alone():
    rng = np.random.default_rng(0)
    params = {
        "fc": {"kernel": rng.normal(size=(8, 3)), "bias": rng.normal(size=3)},
        "tiny": {"kernel": 1e-3 * rng.normal(size=(8, 3))},
        "conv": {"kernel": rng.normal(size=(3, 3, 1, 8))},
    }
    head = frozenset({"fc/kernel", "fc/bias", "tiny/kernel"})
    small = classification.small_head(params, head)
    assert np.std(small["fc"]["kernel"]) == pytest.approx(0.01)
    np.testing.assert_array_equal(small["fc"]["bias"], params["fc"]["bias"])
    np.testing.assert_array_equal(small["tiny"]["kernel"], params["tiny"]["kernel"])
    np.testing.assert_array_equal(small["conv"]["kernel"], params["conv"]["kernel"])


def test_biases_learn_faster_where_the_recipe_says_so():
    params = {"norm": {"bias": np.zeros(3, np.float32)}, "fc": {"kernel": np.ones((3, 2), "f4")}}
    gradient = jax.tree.map(np.ones_like, params)
    head = frozenset({"fc/kernel"})
    for options, bias, kernel in (
        (["--bias_factor=64"], 64, 1),
        (["--bias_factor=64", "--backbone_factor=0.5"], 32, 1),
        ([], 1, 1),
    ):
        chosen = parsed("--momentum=0", "--nonesterov", "--weight_decay=0", *options)
        tx = optimizer_of(chosen, lambda step: 0.1, head)
        updates, _ = tx.update(gradient, tx.init(params), params)
        np.testing.assert_allclose(updates["norm"]["bias"], -0.1 * bias, rtol=1e-6)
        np.testing.assert_allclose(updates["fc"]["kernel"], -0.1 * kernel, rtol=1e-6)


def test_init_head_keeps_the_rest_of_the_file(tmp_path):
    name = "shufflenet_v2_x0_5"
    image = np.zeros((1, 32, 32, 3), np.float32)
    model = models.create(name, num_classes=7)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), image, train=False))
    saved = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.5, np.float32), shapes)
    path = models.save_pretrained(tmp_path / "a.safetensors", name, saved)
    chosen = parsed(
        *(f"--model={name}", f"--pretrained={path}", "--init_head"),
        *("--channels=3", "--image_size=32", "--crop=whole"),
    )
    params = classification.make_experiment(chosen).variables["params"]
    assert 0 < np.std(params["fc"]["kernel"]) < 0.0101
    assert all((leaf == 0.5).all() for leaf in jax.tree.leaves(params["conv5"]))
