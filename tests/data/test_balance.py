"""Balanced sampling."""

import numpy as np
import pytest

from cnn_jax import data
from cnn_jax.data.balance import apportioned
from cnn_jax.data.types import Source

LABELS = np.array([0] * 80 + [1] * 16 + [2] * 4)


class Numbered:
    """Records whose image is their own number."""

    def __init__(self, labels):
        self.labels = list(labels)

    def __len__(self):
        return len(self.labels)

    def __getitems__(self, indices):
        return [
            {"image": np.full((1, 1, 1), i, np.uint8), "label": self.labels[i]} for i in indices
        ]

    def describe(self, index):
        return str(index)


def source(labels=LABELS):
    return Source("numbered", "train", Numbered(labels), ("a", "b", "c"), (1, 1, 1))


def drawn(batches, steps):
    """The numbers of the examples in these batches."""
    return np.concatenate([batches[step]["image"].ravel() for step in steps])


@pytest.mark.parametrize(
    ("balance", "counts"), [(1.0, (34, 33, 33)), (0.5, (60, 27, 13)), (1e-9, (80, 16, 4))]
)
def test_classes_have_their_share_in_every_epoch(balance, counts):
    batches = data.train_batches(source(), batch_size=20, seed=3, balance=balance)
    assert batches.steps_per_epoch == 5
    for epoch in range(3):
        labels = LABELS[drawn(batches, range(5 * epoch, 5 * epoch + 5))]
        assert tuple(np.bincount(labels)) == counts


def test_examples_of_a_class_take_turns():
    batches = data.train_batches(source(), batch_size=20, seed=3, balance=1.0)
    seen = drawn(batches, range(50))
    for label in range(3):
        times = np.bincount(seen, minlength=100)[label == LABELS]
        assert times.max() - times.min() <= 1


def test_a_batch_is_a_function_of_seed_and_step():
    one = data.train_batches(source(), batch_size=20, seed=3, balance=0.7)
    two = data.train_batches(source(), batch_size=20, seed=4, balance=0.7).with_seed(3)
    late = next(one.iterate(17))
    assert (late["image"] == two[17]["image"]).all()
    assert (drawn(one, range(5)) != drawn(one, range(5, 10))).any()
    assert (drawn(one, range(5)) != drawn(one.with_seed(5), range(5))).any()
    halves = [
        data.train_batches(
            source(), batch_size=20, seed=3, balance=0.7, process_index=i, process_count=2
        )[17]["image"]
        for i in (0, 1)
    ]
    assert (np.concatenate(halves) == late["image"]).all()


def test_what_cannot_be_balanced_is_refused():
    with pytest.raises(data.DataError, match=r"balance=2: wanted 0, .* to 1, equally often"):
        data.train_batches(source(), batch_size=20, seed=0, balance=2.0)
    several = np.stack([k == LABELS for k in range(3)], 1).astype(int)
    with pytest.raises(data.DataError, match="several labels each"):
        data.train_batches(source(several), batch_size=20, seed=0, balance=1.0)


def test_shares_become_whole_numbers_that_add_up():
    assert apportioned(10, np.array([1.0, 1.0, 1.0])).tolist() == [4, 3, 3]
    assert apportioned(7, np.array([5.0, 1.0, 1.0])).tolist() == [5, 1, 1]
    assert data.class_counts(source()).tolist() == [80, 16, 4]
