"""What the figures of a run say."""

import json

import numpy as np
import pytest
from matplotlib.figure import Figure

from cnn_jax.analysis import colours, feature_figures, figure_files, figures


@pytest.fixture
def drawn(monkeypatch):
    """The figures, instead of files."""
    found: list[Figure] = []
    monkeypatch.setattr(figure_files, "save", lambda figure, path, **_: found.append(figure))
    return found


def curves(tmp_path, drawn, train_loss, harder):
    rows = [
        {"step": 1, "split": "train", "loss": 2.0, "accuracy": 0.4, "learning_rate": 0.1},
        {"step": 2, "split": "train", "loss": train_loss, "accuracy": 0.9, "learning_rate": 0.1},
        {"step": 2, "split": "test", "loss": 1.0, "accuracy": 0.5},
    ]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    figures.learning_curves(path, "unused", harder=harder)
    return drawn[-1].axes


def test_learning_curves_have_both_accuracies_and_say_why_the_loss_is_above(tmp_path, drawn):
    loss, accuracy, _ = curves(tmp_path, drawn, 1.5, ["augmentation", "dropout"])
    assert [line.get_label() for line in accuracy.lines] == ["train", "test"]
    assert accuracy.lines[0].get_ydata()[-1] == 0.9  # beside 0.5: overfitting is seen
    assert len({line.get_linestyle() for line in loss.lines}) == 2
    assert len({line.get_marker() for line in loss.lines}) == 2
    said = loss.get_title().replace("\n", " ")
    assert said == (
        "The training loss is above the test loss: in training alone there is augmentation, "
        "dropout."
    )
    assert curves(tmp_path, drawn, 0.5, ["augmentation"])[0].get_title() == ""  # it is below
    assert curves(tmp_path, drawn, 1.5, [])[0].get_title() == ""  # there is no such reason


def test_mistakes_have_marks_and_frames_of_their_own(drawn):
    images, labels = np.zeros((2, 8, 8, 1), np.uint8), np.array([0, 1])
    names = ["cat", "a very long name of a class that is wider than its image"]
    figures.predictions(images, labels, np.eye(2)[[0, 0]] * 9, names, "unused")
    right, wrong = drawn[0].axes[:2]
    assert right.get_title().startswith(colours.RIGHT_MARK)
    assert wrong.get_title().startswith(colours.WRONG_MARK)
    assert "\nis a very long" in wrong.get_title()
    assert right.spines["top"].get_linestyle() != wrong.spines["top"].get_linestyle()
    drawn[0].draw_without_rendering()
    for axis in (right, wrong):
        title, place = axis.title.get_window_extent(), axis.get_window_extent()
        assert title.width <= place.width + 12


def test_counts_stay_in_their_cells(drawn):
    figures.confusion_matrix(np.full((12, 12), 1234567), [f"c{i}" for i in range(12)], "unused")
    (axis,) = drawn[0].axes
    drawn[0].draw_without_rendering()
    cell = axis.get_window_extent().width / 12
    assert max(text.get_window_extent().width for text in axis.texts) < cell


@pytest.mark.parametrize(
    ("shape", "says", "scaled"),
    [((5, 5, 1, 4), "conv1/conv: 4 filters of 5x5", "weight"),
     ((3, 3, 3, 4), "3 channels in colour", ""),
     ((3, 3, 8, 4), "mean over 8 channels", "weight"),
     ((5, 1, 4), "4 filters of 5", "")],
)  # fmt: skip
def test_filters_have_a_title_and_a_scale(drawn, shape, says, scaled):
    kernel = np.random.default_rng(0).normal(size=shape)
    figures.first_filters({"conv1": {"conv": {"kernel": kernel}}, "fc": np.ones((2, 2))}, "unused")
    (figure,) = drawn
    assert says in figure.get_suptitle()
    if scaled:
        assert figure.axes[-1].get_ylabel() == scaled  # the colour bar
    else:
        assert figure.get_supxlabel()


def test_maps_have_names_sizes_and_one_scale_a_layer(drawn):
    maps = np.random.default_rng(0).normal(size=(1, 4, 4, 3))
    feature_figures.activations({"max pool 1, 2x2": maps}, "unused", count=2)
    first, second, bar = drawn[0].axes
    assert first.texts[0].get_text() == "max pool 1, 2x2: 4x4, 3 maps"
    assert first.images[0].get_clim() == second.images[0].get_clim()
    assert bar.get_label() == "<colorbar>"
