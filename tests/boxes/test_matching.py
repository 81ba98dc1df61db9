"""Matching against loops over anchors and objects, and torchvision's matchers."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax import boxes as box_ops
from cnn_jax.boxes import anchors as anchor_tables
from cnn_jax.boxes import matching as M

ANCHORS = anchor_tables.grid_anchors((64, 64), [(8, 8), (4, 4)], sizes=[(12,), (28,)])  # [240, 4]
SLOTS = 6


def objects(seed, count=None):
    """Up to four objects, then padding full of rubbish, then one broken."""
    rng = np.random.default_rng(seed)
    count = rng.integers(0, 5) if count is None else count
    corner, sides = rng.uniform(0, 44, (SLOTS, 2)), rng.uniform(3, 40, (SLOTS, 2))
    boxes = np.concatenate([corner, corner + sides], 1).astype(np.float32)
    valid = np.arange(SLOTS) < count
    if count:
        valid[-1], boxes[-1] = True, [9, 9, 9, np.nan]
    return boxes, valid, count


by_iou = jax.jit(M.match_by_iou, static_argnames=("high", "low", "keep_best"))
bipartite = jax.jit(M.match_bipartite_then_iou, static_argnames="threshold")


def loops_by_iou(overlaps, high, low, keep_best):
    objects_, anchors = overlaps.shape
    result = []
    for n in range(anchors):
        column = overlaps[:, n]
        if not objects_:
            result.append(-1)
            continue
        m = int(column.argmax())
        special = keep_best and any(
            column[k] == overlaps[k].max() and column[k] > 0 for k in range(objects_)
        )
        if column[m] >= high or special:
            result.append(m)
        else:
            result.append(-1 if column[m] < low else -2)
    return result


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10_000), st.sampled_from([(0.5, 0.4, True), (0.7, 0.3, True), (0.5, 0.5, False)])
)
def test_iou_matching_equals_the_loops(seed, options):
    high, low, keep_best = options
    boxes, valid, count = objects(seed)
    got = by_iou(ANCHORS, boxes, valid, high=high, low=low, keep_best=keep_best)
    overlaps = np.asarray(box_ops.pairwise_iou(boxes[:count], ANCHORS))
    assert got.tolist() == loops_by_iou(overlaps, high, low, keep_best)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_bipartite_matching_equals_the_loops(seed):
    boxes, valid, count = objects(seed)
    got = bipartite(ANCHORS, boxes, valid)
    overlaps = np.asarray(box_ops.pairwise_iou(boxes[:count], ANCHORS))
    want = loops_by_iou(overlaps, 0.5, 0.5, False)
    for m in range(count):
        if overlaps[m].max() > 0:
            want[int(overlaps[m].argmax())] = m
    assert got.tolist() == want


def test_no_objects_no_slots_and_an_object_out_of_reach():
    nothing = np.zeros(SLOTS, bool)
    boxes, _, _ = objects(0)
    far = np.float32([[900, 900, 910, 910]] * SLOTS)
    for match, anchors in (
        (partial(M.match_by_iou, high=0.5, low=0.4), ANCHORS),
        (M.match_bipartite_then_iou, ANCHORS),
    ):
        for b, v in ((boxes, nothing), (boxes[:0], nothing[:0]), (far, ~nothing)):
            got = match(jnp.asarray(anchors), jnp.asarray(b), jnp.asarray(v))
            assert got.shape == (len(anchors),)
            assert (got == M.BACKGROUND).all()


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"low=0.6 above high=0.5"):
        M.match_by_iou(ANCHORS, ANCHORS[:1], np.ones(1, bool), high=0.5, low=0.6)


@pytest.mark.parametrize("seed", range(4))
def test_equal_torchvision(seed):
    torch = pytest.importorskip("torch")
    from torchvision import ops
    from torchvision.models.detection import _utils as D

    boxes, valid, count = objects(seed, count=3)
    overlaps = ops.box_iou(torch.from_numpy(boxes[:count]), torch.from_numpy(ANCHORS))
    for high, low, keep in ((0.5, 0.4, True), (0.7, 0.3, True), (0.5, 0.5, False)):
        want = D.Matcher(high, low, allow_low_quality_matches=keep)(overlaps).tolist()
        assert by_iou(ANCHORS, boxes, valid, high=high, low=low, keep_best=keep).tolist() == want
    want = D.SSDMatcher(0.5)(overlaps).tolist()
    assert bipartite(ANCHORS, boxes, valid).tolist() == want
