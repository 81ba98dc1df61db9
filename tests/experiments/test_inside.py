"""The command that looks inside a network: its table, and its figures of a picture."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from PIL import Image

from cnn_jax.analysis import attribution, feature_figures, summary
from cnn_jax.analysis.layer_time import layer_seconds
from cnn_jax.models import create
from cnn_jax.run import classification
from experiments import inside
from experiments import recipe as recipes
from tests.run import as_command


@pytest.fixture(autouse=True)
def _flags():
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()


def test_the_table(capsys):
    with flagsaver.flagsaver(model="lenet5", times=True):
        assert inside.main([]) == 0
    shown = capsys.readouterr().out
    assert "61,706" in shown
    assert "share of time" in shown
    # by hand: 5, then 2x2 pooling and 5 at stride 2: 5 + 1 + 4 * 2; again: 14 + 2 + 4 * 4
    assert [line.split()[1] for line in shown.splitlines() if "one every" in line] == [
        "5,", "14,", "32,",
    ]  # fmt: skip


@pytest.mark.slow
def test_the_figures_of_a_picture(tmp_path):
    values = flags.FlagValues()
    recipes.define_flags(classification.ClassificationRecipe, values)
    values(["program", "--model_options=widths=(4,8,8)", "--steps=2", "--batch_size=16",
            "--nofigures", "--devices=1", f"--workdir={tmp_path / 'run'}"])  # fmt: skip
    recipe = recipes.from_flags(classification.ClassificationRecipe, values)
    assert as_command.run(recipe, classification.make_experiment(recipe)) == 0
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "digit.png")
    with flagsaver.flagsaver(run=str(tmp_path / "run"), output=str(tmp_path / "out")):
        assert inside.main([str(tmp_path / "digit.png")]) == 0
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "digit_activations.png", "digit_attributions.png", "filters.png",
    ]  # fmt: skip


def test_a_row_for_max_pooling():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            x = nn.relu(nn.Conv(2, (3, 3), name="conv1")(x))
            x = nn.max_pool(x, (2, 2), strides=(2, 2))
            x = nn.max_pool(x, (3, 3), strides=(1, 1), padding="SAME")  # it makes nothing smaller
            x = nn.Conv(3, (3, 3), name="conv2")(x)
            return nn.Dense(3, name="fc")(nn.max_pool(x, (2, 2), strides=(2, 2)).mean((1, 2)))

    x = jnp.arange(64.0).reshape(1, 8, 8, 1)
    variables = Net().init(jax.random.key(0), x, train=False)
    pools = attribution.max_pools(Net(), variables, x)
    assert [(name, value.shape) for name, value in pools.items()] == [
        ("max pool 1, 2x2", (1, 4, 4, 2)), ("max pool 2, 2x2", (1, 2, 2, 3)),
    ]  # fmt: skip
    layers = attribution.features(Net(), variables, x, layers=["conv1", "conv2"])
    expected = nn.max_pool(nn.relu(layers["conv1"]), (2, 2), strides=(2, 2))
    np.testing.assert_allclose(pools["max pool 1, 2x2"], expected, rtol=1e-6)
    assert list(inside._by_size(layers, pools)) == [
        "conv1", "max pool 1, 2x2", "conv2", "max pool 2, 2x2",
    ]  # fmt: skip


def test_what_is_missing():
    with flagsaver.flagsaver(model=""), pytest.raises(ValueError, match="--model=NAME"):
        inside.main([])
    with flagsaver.flagsaver(output=""), pytest.raises(ValueError, match="--output"):
        inside.main(["a.png"])


def test_the_layer_with_the_work_takes_the_time():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            x = nn.Conv(2, (1, 1), name="light")(x)
            x = nn.Conv(64, (9, 9), name="heavy")(x)
            return nn.Dense(3, name="fc")(x.mean((1, 2)))

    x = jnp.ones((2, 24, 24, 1))
    variables = Net().init(jax.random.key(0), x, train=False)
    seconds = layer_seconds(Net(), variables, x)
    assert list(seconds) == ["light", "heavy", "fc"]
    assert seconds["heavy"] > seconds["light"]
    shown = summary.text(summary.summarise(Net(), (24, 24, 1)), seconds=seconds)
    shares = [float(row.split("│")[-2].strip("% ")) for row in shown.splitlines() if "%" in row]
    assert sum(shares) == pytest.approx(100, abs=0.2)


def test_sequences_are_drawn_as_curves(tmp_path):
    model = create("tcn", num_classes=None, channels=(4, 4), kernel=2)
    x = jnp.ones((1, 12, 1))
    stages = model.apply(model.init(jax.random.key(0), x, train=False), x, train=False)
    feature_figures.activations(stages, tmp_path / "maps.png")
    feature_figures.attributions(np.ones((12, 1)), {"gradient": x[0]}, tmp_path / "from.png")
    assert (tmp_path / "maps.png").exists()
    assert (tmp_path / "from.png").exists()
    with pytest.raises(ValueError, match="No layer has feature maps"):
        feature_figures.activations({"fc": np.ones((1, 3))}, tmp_path / "none.png")
