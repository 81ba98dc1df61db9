"""The comparison of settings for fine-tuning: its sets, its shared step, its tables."""

import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_jax import models, run, weights
from cnn_jax.tasks import classification as tasks
from cnn_jax.train import optim, state
from cnn_jax.weights.own import OWN, export_own
from experiments.benchmark import fine_tuning, fine_tuning_run, fine_tuning_sets, fine_tuning_table
from experiments.benchmark.fine_tuning_run import Candidate, Numbers
from experiments.benchmark.fine_tuning_sets import Images, Pool, SmallSet


def numbers(**given):
    values = {**dict.fromkeys(Numbers._fields, 0.0), **given}
    return Numbers(**{name: jnp.float32(value) for name, value in values.items()})


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (10, 0), (10, 3), (10, 10)])
def test_the_rate_is_that_of_the_library(steps, warmup):
    schedule = optim.make_schedule("cosine", 0.3, steps=steps, warmup_steps=warmup)
    ours = numbers(rate=0.3, steps=steps, warmup=warmup)
    for count in range(steps):
        wanted = float(schedule(count))
        assert float(fine_tuning_run.rate_at(ours, count)) == pytest.approx(wanted, abs=1e-7)


@pytest.mark.parametrize(("adamw", "name"), [(0, "sgd"), (1, "adamw")])
def test_one_optimiser_or_the_other(adamw, name):
    options = {"momentum": 0.9, "weight_decay": 0.1, "nesterov": True}
    wanted = optim.make_optimizer(name, 0.1, **options)
    both = [optim.OPTIMIZERS[each](0.1, **options) for each in ("sgd", "adamw")]
    ours = fine_tuning_run.either(jnp.float32(adamw), *both)
    params = {"a": jnp.ones((2, 3)), "b": jnp.ones(3)}
    states = [tx.init(params) for tx in (ours, wanted)]
    for step in range(3):
        grads = jax.tree.map(lambda leaf, step=step: leaf * (1.0 + step), params)
        (mine, states[0]), (theirs, states[1]) = (
            tx.update(grads, each, params) for tx, each in zip((ours, wanted), states, strict=True)
        )
        jax.tree.map(np.testing.assert_allclose, mine, theirs)
        params = optax.apply_updates(params, mine)


def test_logits_of_other_classes_do_not_exist_for_the_loss():
    logits = jax.random.normal(jax.random.key(0), (4, 5))
    batch = {"label": jnp.array([0, 2, 1, 0]), "mask": jnp.array([1.0, 1, 1, 0])}

    def loss(task, logits):
        mean = task.loss(logits, batch)["cross_entropy"]
        return mean.total / mean.weight

    library = tasks.classification(3, label_smoothing=fine_tuning_run.SMOOTHING)
    wanted, slope = jax.value_and_grad(lambda x: loss(library, x[:, :3]))(logits)
    ours = fine_tuning_run.task(jnp.float32(3), 5)
    found, own = jax.value_and_grad(lambda x: loss(ours, x))(logits)
    assert float(found) == pytest.approx(float(wanted), rel=1e-6)
    np.testing.assert_allclose(own, slope, atol=1e-7)
    figures = fine_tuning_run.evaluated(np.asarray(logits), np.asarray(batch["label"]), 3)
    plain = optax.softmax_cross_entropy_with_integer_labels(logits[:, :3], batch["label"])
    assert figures["loss"] == pytest.approx(float(plain.mean()), rel=1e-6)


def coloured(count, classes=3):
    """Images of 6x6, each of one grey value of its own, and their classes."""
    images = [np.full((6, 6), index, np.uint8) for index in range(count)]
    return images, [index % classes for index in range(count)]


def test_a_split_is_of_its_seed_and_holds_no_image_twice():
    small = SmallSet(("a", "b", "c"), lambda data_dir: None, 4, 5, "validation", "")
    pool = Pool(coloured(30), None)
    first, same, other = (
        fine_tuning_sets.draw(small, pool, seed=seed, size=8) for seed in (0, 0, 1)
    )
    assert first.train.image.shape == (12, 8, 8, 3)
    assert np.bincount(first.train.label).tolist() == [4, 4, 4]
    assert np.bincount(first.held_out.label).tolist() == [5, 5, 5]
    shown = [{*part.image[:, 0, 0, 0].tolist()} for part in first]
    assert not shown[0] & shown[1]
    assert (first.train.image == same.train.image).all()
    assert (first.train.image != other.train.image).any()
    own = Pool(coloured(30), coloured(9))  # a part of its own, the same for all seeds
    held = [fine_tuning_sets.draw(small, own, seed=seed, size=8).held_out for seed in (0, 1)]
    assert (held[0].image == held[1].image).all()
    assert len(held[0].label) == 9


def test_batches_go_through_all_images_and_are_all_full():
    images = Images(np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1), np.arange(10))
    found = [*fine_tuning_run.batches(images, seed=0, steps=5, batch=4)]
    assert [len(batch["label"]) for batch in found] == [4] * 5
    seen = np.concatenate([batch["label"] for batch in found])
    assert sorted(seen[:10]) == sorted(seen[10:]) == [*range(10)]


def test_a_package_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="pip install --no-deps no-such-package brings it"):
        fine_tuning_sets._of_package("no-such-package", "a.npy")


def test_the_table_of_candidates_begins_with_the_best():
    rows = [
        {"part": "validation", "candidate": c, "set": s, "seed": seed, "accuracy": a, "loss": 1 - a}
        for c, s, seed, a in [
            ("low", "one", 0, 0.5), ("low", "two", 0, 0.6),
            ("high", "one", 0, 0.7), ("high", "two", 0, 0.9), ("high", "one", 1, 0.9),
            ("unfinished", "one", 0, 1.0),
        ]
    ]  # fmt: skip
    assert fine_tuning_table.of(rows, part="validation").splitlines() == [
        "| candidate | one | two | mean | n |",
        "| --- | --- | --- | --- | --- |",
        "| high | 0.800 (0.200) | 0.900 (0.100) | 0.850 (0.150) | 2 |",
        "| low | 0.500 (0.500) | 0.600 (0.400) | 0.550 (0.450) | 1 |",
        "| unfinished | 1.000 (0.000) | - (-) | - | 1 |",
    ]
    assert fine_tuning_table.of(rows, part="test") == "No runs on test parts yet."


def test_the_report_has_differences_seed_by_seed():
    rows = [
        {"part": "test", "candidate": c, "set": "one", "seed": seed, "accuracy": a, "loss": 1.0}
        for c, seed, a in [("fine-tuned", 0, 0.5), ("fine-tuned", 1, 0.7), ("probe", 1, 0.75)]
    ]
    assert fine_tuning_table.of(rows, part="test").splitlines()[2:] == [
        "| one | fine-tuned | 0.600 ± 0.141 | 1.000 ± 0.000 |  |  | 2 |",
        "| one | probe | 0.750 | 1.000 | -0.050 (-0.050) | +0.000 (+0.000) | 1 |",
    ]


@pytest.fixture(scope="module")
def mlp(tmp_path_factory):
    """A file with weights of a small network for RGB images of 8x8."""
    image = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
    variables = state.init_variables(models.create("mlp", num_classes=7), image, seed=5)
    file = tmp_path_factory.mktemp("weights") / "mlp.safetensors"
    how = weights.Preprocessing(mean=(0.5,) * 3, std=(0.2,) * 3, source="a test")
    header = {"model": "mlp", "publisher": OWN, "preprocessing": how.to_json()}
    weights.write(file, export_own(variables), header)
    return str(file)


@pytest.mark.slow  # compiles three programs
def test_a_command_measures_goes_on_and_reports(mlp, tmp_path, monkeypatch, capsys):
    given = {
        "workdir": str(tmp_path), "data_dir": "", "model": "mlp", "pretrained": mlp,
        "report": False, "sets": [], "only": "sgd 0.01;probe, adamw 1e-2", "changes_to": "",
        "seed": 0, "seeds": 2, "steps": 3, "batch_size": 4, "size": 8, "minutes": 0.0,
    }  # fmt: skip

    def command(**changes):
        chosen = SimpleNamespace(**{**given, **changes})
        monkeypatch.setattr(fine_tuning, "flags", SimpleNamespace(FLAGS=chosen))
        assert fine_tuning.main() == 0
        return capsys.readouterr().out

    def read(data_dir):
        return Pool(coloured(24), None)

    small = {
        name: SmallSet(("a", "b", "c"), read, 4, 4, part, "")
        for name, part in (("one", "validation"), ("two", "test"))
    }
    monkeypatch.setattr(fine_tuning_sets, "SETS", small)
    monkeypatch.setattr(fine_tuning.entry, "set_up_jax", lambda **options: None)
    out = command()
    file = tmp_path / fine_tuning.RUNS_FILE
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(row["candidate"], row["seed"]) for row in rows] == [
        ("sgd 0.01", 0), ("probe, adamw 1e-2", 0), ("sgd 0.01", 1), ("probe, adamw 1e-2", 1),
    ]  # fmt: skip
    assert {row["set"] for row in rows} == {"one"}  # its validation part alone
    assert "| sgd 0.01 | " in out
    # a line that was cut short is measured again, and gives the same
    file.write_text("\n".join(file.read_text().splitlines()[:3]) + '\n{"model": "m')
    command()
    again = [json.loads(line) for line in file.read_text().splitlines()]
    assert [{**row, "seconds": 0} for row in again] == [{**row, "seconds": 0} for row in rows]
    # what a recipe takes by itself, on the other set
    out = command(report=True, seeds=1, only="")
    table = out[out.index("| set |") :]
    tested = [json.loads(line) for line in file.read_text().splitlines()][4:]
    assert {row["set"] for row in tested} == {"two"}
    assert [row["candidate"] for row in tested] == [*fine_tuning.contenders(12)]
    recipe = run.Recipe(model="mlp", pretrained=mlp)
    assert tested[0]["settings"]["rate"] == recipe.learning_rate
    assert tested[0]["settings"]["optimizer"] == recipe.optimizer
    assert tested[1]["settings"]["freeze"]
    assert tested[2]["settings"]["scratch"]
    assert table.count("\n") == 6
    with pytest.raises(ValueError, match="--only=none: choose from"):
        command(only="none")


@pytest.mark.slow
def test_a_probe_keeps_the_features_and_heads_begin_as_they_should(mlp):
    trainer = fine_tuning_run.Trainer("mlp", mlp, size=8, width=5)
    heads = {
        how: trainer.variables(Candidate("sgd", 0.1, head=how), 0)["params"]["head"]["kernel"]
        for how in ("small", "zero", "own")
    }
    assert not heads["zero"].any()
    assert float(heads["small"].std()) <= 0.0101 < float(heads["own"].std())
    images = Images(
        np.zeros((4, 8, 8, 3), np.uint8) + np.arange(4, dtype=np.uint8)[:, None, None, None],
        np.arange(4),
    )
    probe = Candidate("sgd", 0.5, freeze=True)
    chosen = trainer.numbers(probe, classes=4, steps=2)
    before = trainer.variables(probe, 0)
    kept = jax.tree.map(np.array, before)
    states = state.state_from(before, trainer.optimizer(chosen), ema=False)
    for batch in fine_tuning_run.batches(images, seed=0, steps=2, batch=4):
        states, _ = trainer._probe(states, jnp.uint32(0), chosen, batch)
    for name, layer in states.params.items():
        same = (np.asarray(layer["kernel"]) == kept["params"][name]["kernel"]).all()
        assert same == (name != "head")
