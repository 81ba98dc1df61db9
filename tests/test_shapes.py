"""Arguments of another shape or type: one line that says what came and what was wanted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax import boxes, shapes
from cnn_jax.analysis import detection_figures, segmentation_figures
from cnn_jax.boxes.matching import match_bipartite_then_iou, match_by_iou
from cnn_jax.metrics import average_precision, confusion_matrix, top_k_correct

BOX = jnp.zeros((3, 4))
MASK = jnp.ones(3, bool)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: boxes.area(jnp.zeros((2, 5))), r"boxes are \[..., 4\]; got boxes \(\[2, 5\] f"),
        (lambda: boxes.iou(BOX, jnp.zeros(3)), r"got boxes \(\[3, 4\] float32, \[3\] float32\)"),
        (lambda: boxes.pairwise_iou(BOX, BOX[:, :2]), r"\[3, 2\]"),
        (lambda: boxes.giou(BOX.T, BOX), r"\[4, 3\]"),
        (lambda: boxes.clip(BOX[..., :3], 8, 8), r"\[3, 3\]"),
        (lambda: boxes.coding.encode(BOX, BOX.T), r"encode takes .* anchors \[4, 3\]"),
        (lambda: boxes.coding.decode(BOX.T, BOX), r"decode takes .* codes \[4, 3\]"),
        (lambda: match_by_iou(BOX, BOX, MASK[:2], high=0.5, low=0.4), r"valid \[2\] bool"),
        (lambda: match_by_iou(BOX, BOX, jnp.ones(3), high=0.5, low=0.4), r"valid \[3\] float32"),
        (lambda: match_bipartite_then_iou(BOX[0], BOX, MASK), r"anchors \[4\] float32"),
        (lambda: boxes.nms.nms(BOX, jnp.ones(4), threshold=0.5, size=2), r"scores \[4\] float32"),
        (
            lambda: boxes.nms.nms(BOX, jnp.ones(3), threshold=0.5, size=2, labels=jnp.ones(3)),
            r"labels \[3\] float32",
        ),
        (lambda: boxes.roi_align.roi_align(BOX, BOX, stride=4, size=(2, 2)), r"\(\[3, 4\] fl"),
        (
            lambda: boxes.sampling.sample_balanced(
                jax.random.key(0), MASK, jnp.ones(3), size=2, share=0.5
            ),
            r"negative \[3\] float32",
        ),
    ],
)
def test_what_came_and_what_was_wanted_in_one_line(call, message):
    with pytest.raises(ValueError, match=message) as raised:
        call()
    assert "\n" not in str(raised.value)
    assert "Chex" not in str(raised.value)


def test_while_tracing_too_and_nothing_is_left_in_the_program():
    with pytest.raises(ValueError, match=r"boxes are \[..., 4\]"):
        jax.jit(boxes.area)(jnp.zeros((2, 5)))
    assert "check" not in str(jax.make_jaxpr(boxes.iou)(BOX, BOX))


def test_arguments_that_are_no_arrays():
    with (
        pytest.raises(ValueError, match=r"^f takes x; got x float, y \(int, \[2\] float64\)\.$"),
        shapes.wanted("f takes x", x=1.0, y=(1, np.ones(2)), z=None),
    ):
        raise AssertionError("of chex")


def test_figures_of_masks_and_boxes(tmp_path):
    image, label = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8)
    with pytest.raises(ValueError, match=r"^overlay takes .* label \[8, 7\] uint8\.$"):
        segmentation_figures.overlay(image, label[:, 1:], 3)
    with pytest.raises(ValueError, match=r"label \[8, 8\] float64"):
        segmentation_figures.overlay(image, label / 2, 3)
    with pytest.raises(ValueError, match=r"^predictions takes .* predicted \[1, 8, 8, 3\] float64"):
        segmentation_figures.predictions(
            image[None], label[None], np.zeros((1, 8, 8, 3)), "abc", tmp_path / "a.png"
        )
    with pytest.raises(ValueError, match=r"detections \[5\] float64, truth \[0, 6\]"):
        detection_figures.judge(np.zeros(5), np.zeros((0, 6)))


@pytest.mark.parametrize(("rows", "truth"), [((2, 3, 5), (2, 3, 6)), ((1, 3, 6), (2, 3, 6))])
def test_average_precision_of_rows_of_another_shape(rows, truth):
    arrays = np.zeros(rows), np.zeros(truth)
    with pytest.raises(ValueError, match=r"^Average precision takes detections \[B, M, 6\]"):
        average_precision.evaluate(*arrays, ["a"])
    with pytest.raises(ValueError, match=r"^Average precision takes detections \[B, M, 6\]"):
        average_precision.voc_average_precision(*arrays, 1)


def test_counts():
    logits, label, mask = jnp.zeros((3, 2)), jnp.zeros(3, int), jnp.ones(3)
    with pytest.raises(ValueError, match=r"^top_k_correct takes .* labels \[3\] float32"):
        top_k_correct(logits, mask, k=1, mask=mask)
    with pytest.raises(ValueError, match=r"^confusion_matrix takes .* mask \[2\] float32"):
        confusion_matrix(label, label, num_classes=2, mask=mask[:2])
