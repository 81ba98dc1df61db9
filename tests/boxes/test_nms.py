"""Suppression against the greedy loop written out in numpy, and torchvision."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax.boxes import nms as N


def brute_force(boxes, scores, threshold, labels=None, valid=None):
    """One after another, in plain Python."""

    def iou(a, b):
        width = min(a[2], b[2]) - max(a[0], b[0])
        height = min(a[3], b[3]) - max(a[1], b[1])
        if width <= 0 or height <= 0:
            return 0.0
        areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
        return width * height / (sum(areas) - width * height)

    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if valid is not None and not valid[i]:
            continue
        same = [j for j in kept if labels is None or labels[i] == labels[j]]
        if all(iou(boxes[i], boxes[j]) <= threshold for j in same):
            kept.append(i)
    return kept


def scene(count, seed, clusters=4):
    """Boxes scattered about a few places, so that many overlap."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 40, (clusters, 2))[rng.integers(clusters, size=count)]
    corner = corner + rng.normal(0, 3, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(8, 14, (count, 2))], 1)
    return boxes.astype(np.float32), rng.random(count, np.float32)


def kept(result):
    valid = np.asarray(result.valid)
    assert not (np.diff(valid.astype(int)) > 0).any()  # padding is at the end
    return np.asarray(result.indices)[valid].tolist()


run = jax.jit(N.nms, static_argnames=("threshold", "size"))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.3, 0.5, 0.9]), st.booleans(), st.booleans())
def test_equals_the_greedy_loop(seed, threshold, ties, classes):
    boxes, scores = scene(24, seed)
    rng = np.random.default_rng(seed)
    scores = np.round(scores, 1) if ties else scores  # equal scores: first come, first kept
    labels = rng.integers(0, 3 if classes else 1, 24)
    valid = rng.random(24) < 0.8
    got = kept(run(boxes, scores, threshold=threshold, size=24, valid=valid, labels=labels))
    assert got == brute_force(boxes, scores, threshold, labels, valid)


def test_a_long_chain_of_suppressions_is_settled():
    """Each overlaps the next: the first kept frees the third, and so on, 20 times."""
    x = 6.0 * np.arange(40)
    boxes = np.stack([x, 0 * x, x + 10, 0 * x + 10], 1).astype(np.float32)
    scores = np.linspace(1, 0.1, 40).astype(np.float32)
    assert kept(run(boxes, scores, threshold=0.2, size=40)) == list(range(0, 40, 2))


def test_size_cuts_off_the_lowest_and_pads():
    boxes, scores = scene(30, 1)
    everything = brute_force(boxes, scores, 0.5)
    few = run(boxes, scores, threshold=0.5, size=3)
    assert few.indices.shape == few.valid.shape == (3,)
    assert kept(few) == everything[:3]
    many = run(boxes, scores, threshold=0.5, size=50)
    assert many.indices.shape == (50,)
    assert kept(many) == everything


def test_classes_do_not_suppress_each_other_even_at_negative_coordinates():
    boxes = jnp.array([[-90.0, -90, -80, -80]] * 3)
    got = run(boxes, jnp.array([0.9, 0.8, 0.7]), threshold=0.5, size=3, labels=jnp.array([0, 1, 0]))
    assert kept(got) == [0, 1]


def test_broken_boxes():
    nan = np.nan
    boxes = np.float32([[0, 0, 9, 9], [nan, 0, 9, 9], [9, 9, 0, 0], [4, 4, 4, 4], [0, 0, 9, 9]])
    scores = np.float32([0.5, 0.9, 0.8, 0.7, nan])
    # NaN is dropped; inverted and degenerate boxes overlap nothing.
    assert kept(run(boxes, scores, threshold=0.5, size=5)) == [2, 3, 0]
    assert kept(run(boxes, scores, threshold=0.5, size=5, valid=np.zeros(5, bool))) == []
    assert kept(N.nms(boxes[:0], scores[:0], threshold=0.5, size=4)) == []


def test_infinite_scores_are_ordered():
    boxes, _ = scene(3, 0, clusters=3)
    scores = np.float32([-np.inf, np.inf, 0])
    assert kept(run(boxes, scores, threshold=1.0, size=3)) == [1, 2, 0]


def test_a_batch_is_each_image_alone():
    scenes = [scene(24, seed) for seed in range(5)]
    boxes, scores = (np.stack(v) for v in zip(*scenes, strict=True))
    batched = jax.jit(jax.vmap(partial(N.nms, threshold=0.4, size=10)))(boxes, scores)
    for i in range(5):
        one = jax.tree.map(lambda v, i=i: v[i], batched)
        assert kept(one) == brute_force(boxes[i], scores[i], 0.4)[:10]


class Variants(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_eager_and_jitted(self):
        boxes, scores = scene(24, 3)
        got = self.variant(partial(N.nms, threshold=0.5, size=24))(boxes, scores)
        assert kept(got) == brute_force(boxes, scores, 0.5)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"boxes \[N, 4\]"):
        N.nms(jnp.zeros((3, 5)), jnp.zeros(3), threshold=0.5, size=3)


def test_equals_torchvision():
    torch = pytest.importorskip("torch")
    from torchvision import ops

    for seed in range(5):
        boxes, scores = scene(200, seed, clusters=10)
        labels = np.random.default_rng(seed).integers(0, 4, 200)
        tb, ts, tl = (torch.from_numpy(v) for v in (boxes, scores, labels))
        got = kept(run(boxes, scores, threshold=0.5, size=200))
        assert got == ops.nms(tb, ts, 0.5).tolist()
        got = kept(run(boxes, scores, threshold=0.5, size=200, labels=labels))
        assert got == ops.batched_nms(tb, ts, tl, 0.5).tolist()
