"""Arguments of another shape or type: one line that says what came and what was wanted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax import boxes, shapes
from cnn_jax.boxes.matching import match_bipartite_then_iou, match_by_iou

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
