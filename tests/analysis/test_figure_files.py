"""What the files of figures are called."""

import io
import os
import warnings

import pytest
from matplotlib.figure import Figure

from cnn_jax.analysis import figure_files
from cnn_jax.analysis.figure_files import LONGEST_NAME, named_after


@pytest.mark.parametrize("name", ["x" * 251, "猫" * 83, "\udcff" * 251], ids=["x", "猫", "bytes"])
def test_a_name_as_long_as_a_file_may_have(tmp_path, name):
    """With an ending of ours it was too long, and the command ended after all its work."""
    (tmp_path / f"{name}.png").touch()
    drawn = named_after(tmp_path / f"{name}.png", "_boxes.png")
    assert drawn.endswith("_boxes.png")
    assert len(os.fsencode(drawn)) <= LONGEST_NAME
    (tmp_path / drawn).touch()


def test_other_names_stay():
    assert named_after("in/cat $x$.jpg", "_boxes.png") == "cat $x$_boxes.png"


def test_no_figure_takes_the_place_of_an_image(tmp_path):
    paths = [str(tmp_path / name) for name in ("cat.png", "cat_boxes.png")]
    names = figure_files.distinct(paths)
    figure_files.check_apart(paths, names, tmp_path / "out", ("_boxes.png",))
    with pytest.raises(ValueError, match=r"cat_boxes\.png is one of the images, and would be over"):
        figure_files.check_apart(paths, names, tmp_path, ("_boxes.png",))


def test_chinese_names_have_a_font_where_there_is_one():
    if not figure_files._chinese():
        pytest.skip("there is no font with Chinese characters")
    figure = Figure()
    chinese, plain = figure.text(0.5, 0.5, "猫"), figure.text(0.5, 0.2, "cat", family="monospace")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        figure_files.save(figure, io.BytesIO())
    assert not said
    assert chinese.get_fontfamily() == ["DejaVu Sans", *figure_files._chinese()]
    assert plain.get_fontfamily() == ["monospace"]
