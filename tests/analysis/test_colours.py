"""Colours that colour-blind people tell apart."""

import matplotlib
import numpy as np

from cnn_jax.analysis import colours, segmentation_figures


def nearest(table):
    apart = colours.distance(table, table)
    return (apart + 1e9 * np.eye(len(table))).min()


def test_right_and_wrong_are_far_apart_for_everyone():
    """108 under deuteranopia, by another implementation of the same simulation."""
    right, wrong = (colours.from_hex(name) for name in (colours.RIGHT, colours.WRONG))
    lab = [colours._lab(each, "deuteranopia") for each in (right, wrong)]
    assert abs(np.linalg.norm(lab[0] - lab[1]) - 108) < 1
    assert colours.distance(right[None], wrong[None])[0, 0] > 80
    assert colours.RIGHT_LINE != colours.WRONG_LINE
    assert colours.RIGHT_MARK != colours.WRONG_MARK


def test_the_classes_of_a_segmentation_differ():
    table = segmentation_figures.palette(256)
    assert table[0].tolist() == [0, 0, 0]
    white = [[255, 255, 255]]  # ignored pixels
    for count, least in ((11, 25), (21, 15)):
        assert nearest(np.concatenate([table[:count], white])) > least
    tab10 = 255 * matplotlib.colormaps["tab10"](np.arange(10))[:, :3]  # what it was
    assert nearest(tab10) < 5
    assert len(np.unique(table, axis=0)) == 256
    assert (segmentation_figures.palette(5) == table[:5]).all()  # whatever their number
