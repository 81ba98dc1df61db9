"""train_batch.png: what it shows is what the first step trains on, and it never stops a run."""

import jax
import numpy as np
import pytest
from PIL import Image

from cnn_jax import run
from cnn_jax.analysis import batch_figure
from cnn_jax.analysis.look.contents import Sight
from cnn_jax.run import shown, sights, train_batch
from cnn_jax.train.step import make_shown

COMMON = {
    "model": "mlp", "steps": 2, "batch_size": 48, "compilation_cache": "", "devices": 1,
    "evaluate_every_epochs": 0.0, "survey": "off",
}  # fmt: skip


@pytest.mark.parametrize(
    "recipe",
    [
        run.Recipe(dataset="digits", mixup=0.4, cutmix=1.0, accumulate=3, **COMMON),
        run.Recipe(dataset="mnist1d", mixup=0.2, **COMMON),
    ],
    ids=["images", "sequences"],
)
def test_it_shows_what_the_step_is_shown(recipe):
    experiment = run.TASKS["classification"].make_experiment(recipe)
    found = shown.first_of_step(recipe, experiment, 1, 16)
    batch = dict(experiment.train[1])
    step = make_shown(experiment.augment, seed=recipe.seed, accumulate=recipe.accumulate)
    whole = jax.device_get(jax.jit(step)(1, batch))  # of all 48 examples
    facts = experiment.facts
    wanted = [
        sights.of_row(
            {name: value[i] for name, value in whole.items()},
            facts.class_names,
            (facts.mean, facts.std),
        )
        for i in range(16)
    ]
    assert len(found) == 16
    assert any("%" in sight.text for sight in found)
    for one, other in zip(found, wanted, strict=True):
        assert one.text == other.text
        assert one.pixels.dtype == other.pixels.dtype
        np.testing.assert_allclose(
            one.pixels.astype(float), other.pixels.astype(float), atol=1e-4 if facts.std == (1.0,)
            else 1,
        )  # fmt: skip
    if recipe.dataset == "digits":  # bright strokes on black, as the files are
        assert max(sight.pixels.max() for sight in found) > 200
        assert min(sight.pixels.min() for sight in found) == 0


def test_every_kind_of_example_is_drawn(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (20, 30, 3), np.uint8)
    volume = rng.integers(0, 256, (5, 12, 10, 1), np.uint8)
    mask = np.zeros((20, 30), np.uint8)
    mask[4:9, 4:9], mask[15:] = 2, 255
    names = ["background", "cat", "a dog with a $long name of more than thirty characters"]
    kinds = [
        Sight(image, text="70% cat, 30% dog"),
        Sight(image, boxes=np.array([[2.0, 3, 12, 15]]), labels=np.array([1])),
        Sight(image, boxes=np.zeros((0, 4)), labels=np.zeros(0, int)),
        Sight(image, mask=mask),
        Sight(volume, text="cat"),
        Sight(volume, mask=rng.integers(0, 3, (5, 12, 10))),
        Sight(rng.normal(size=(40, 3)).astype(np.float32), text="cat"),
        Sight(image[..., :2], text="none"),
    ]
    batch_figure.write(kinds, names, tmp_path / "batch.png", name="a$b", said="of step 1")
    with Image.open(tmp_path / "batch.png") as drawn:
        pixels = np.asarray(drawn.convert("RGB")).astype(int)
    cells = [pixels[60:260, 10:230], pixels[60:260, 250:470], pixels[60:260, 490:710]]
    for cell in cells:
        assert len(np.unique(cell)) > 20


def test_runs_leave_it_and_go_on_without_it(tmp_path, monkeypatch, caplog):
    def trained(name, **changes):
        recipe = run.Recipe(dataset="mnist1d", **{**COMMON, **changes})
        result = run.train(recipe, workdir=tmp_path / name, program=run.Program(quiet=True))
        return result, tmp_path / name / train_batch.FILE

    drawn = []
    monkeypatch.setattr(
        batch_figure, "write", lambda sights, names, path, **how: drawn.append((len(sights), how))
    )
    trained("many", seeds=2)
    ((count, how),) = drawn
    assert count == 16
    assert "16 of the 48 examples of step 1," in how["said"]
    recipe = run.Recipe(dataset="mnist1d", figures=False, **COMMON)
    train_batch.draw(recipe, run.TASKS["classification"].make_experiment(recipe), tmp_path, 0)
    assert len(drawn) == 1

    def fails(*args):
        raise TypeError("no image\nat all")

    monkeypatch.setattr(shown, "first_of_step", fails)
    monkeypatch.setattr("cnn_jax.run.single._draw", lambda *a: None)  # the figures of the end
    result, file = trained("goes_on")
    assert result.metrics
    assert not file.exists()
    said = [record.getMessage() for record in caplog.records]
    assert said.count("train_batch.png is not drawn: TypeError: no image") == 1
