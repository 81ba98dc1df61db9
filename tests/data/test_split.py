"""Split expressions mean what TFDS means by them."""

import pytest
import tensorflow_datasets as tfds
from hypothesis import given
from hypothesis import strategies as st

from cnn_jax.data import DataError
from cnn_jax.data.split import select


def theirs(expression, lengths):
    """What TFDS makes of it: (split, from, to) of each part."""
    parts = tfds.core.ReadInstruction.from_spec(expression).to_absolute(
        {
            name: tfds.core.SplitInfo(
                name=name, shard_lengths=[length], num_bytes=0, filename_template=None
            )
            for name, length in lengths.items()
        }
    )
    chosen = []
    for part in parts:
        stop = lengths[part.splitname] if part.to is None else part.to
        chosen += [(part.splitname, i) for i in range(part.from_ or 0, stop)]
    return chosen


def ends(offset):
    end = st.one_of(st.just(""), offset)
    return st.tuples(end, end)


percentages = ends(st.integers(-99, 99).map("{}%".format))
numbers = ends(st.integers(-20, 20).map(str))


@given(length=st.integers(20, 200), slice_=st.one_of(percentages, numbers))
def test_slices_are_those_of_tfds(length, slice_):
    start, stop = slice_
    splits = {"train": [("train", i) for i in range(length)]}
    expression = f"train[{start}:{stop}]"
    try:
        expected = theirs(expression, {"train": length})
    except ValueError:  # TFDS refuses what selects nothing
        return
    assert select(splits, expression, dataset="x") == expected


def test_sums_and_names():
    splits = {"train": list("abcd"), "test": list("ef")}
    assert select(splits, "train[1:3]+test", dataset="x") == list("bcef")
    assert select(splits, " test + train[-1:] ", dataset="x") == list("efd")


def test_what_is_refused():
    splits = {"train": [1], "val": [2]}
    with pytest.raises(DataError, match="x has no split 'test': it has 'train', 'val'"):
        select(splits, "test", dataset="x")
    for expression in ("train[", "train[:1.5%]", "", "train+", "train[1]"):
        with pytest.raises(DataError, match="is not a split of x: write 'train'"):
            select(splits, expression, dataset="x")
    with pytest.raises(DataError, match="between -100% and 100%"):
        select(splits, "train[:101%]", dataset="x")
    with pytest.raises(DataError, match="both ends of a slice in percent, or neither"):
        select(splits, "train[10%:20]", dataset="x")
