"""Batches are functions of (seed, step), whatever computes them."""

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax.data import DataError, eval_batches, train_batches
from cnn_jax.data.loaders.image import image_loader
from tests.data.pictures import make_source

SOURCE = make_source(10)
# streamed: decoded for every batch anew
RANDOM = {"load": image_loader(SOURCE, 3, "random_resized")}


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype
        np.testing.assert_array_equal(a[name], b[name])


def labels(batches, steps):
    return np.concatenate([batches[i]["label"] for i in range(steps)])


@pytest.mark.parametrize("options", [{}, RANDOM])
def test_what_a_batch_is(options):
    batch = train_batches(SOURCE, batch_size=4, seed=0, **options)[3]
    assert batch["image"].shape == (4, 3, 3, 3) if options else (4, 4, 5, 3)
    assert batch["image"].dtype == np.uint8
    assert batch["label"].dtype == np.int32
    assert batch["mask"].dtype == np.float32
    np.testing.assert_array_equal(batch["mask"], np.ones(4))


@pytest.mark.parametrize("options", [{}, RANDOM])
def test_a_batch_depends_on_seed_and_step_alone(options):
    first = train_batches(SOURCE, batch_size=4, seed=1, **options)
    batch = first[7]
    _ = first[2], first[100]
    assert_same(batch, first[7])
    assert_same(batch, train_batches(SOURCE, batch_size=4, seed=1, **options)[7])
    other = train_batches(SOURCE, batch_size=4, seed=2, **options)
    assert any((first[i]["label"] != other[i]["label"]).any() for i in range(5))


def test_pictures_keep_their_labels():
    batch = train_batches(SOURCE, batch_size=7, seed=0)[5]
    np.testing.assert_array_equal(batch["image"][:, 0, 0, 0], batch["label"])


def test_decoding_every_time_and_once_give_the_same_batches():
    kept = train_batches(SOURCE, kept_load(SOURCE), batch_size=4, seed=3)
    anew = train_batches(SOURCE, kept_load(SOURCE), batch_size=4, seed=3, in_memory=False)
    for step in range(5):
        assert_same(kept[step], anew[step])


def kept_load(source):
    return image_loader(source, 6, "center")


@settings(deadline=None, max_examples=40)
@given(n=st.integers(1, 30), batch_size=st.integers(1, 12), seed=st.integers(-(2**63), 2**64))
def test_every_epoch_holds_every_example_once(n, batch_size, seed):
    batches = train_batches(PICTURES[:n], batch_size=batch_size, seed=seed)
    assert batches.examples == n
    assert batches.steps_per_epoch == n / batch_size
    seen = labels(batches, -(-3 * n // batch_size))
    for epoch in range(3):
        assert sorted(seen[epoch * n : (epoch + 1) * n]) == list(range(n))


class _Prefixes:
    """PICTURES[:n] is a source of the first n pictures, made once."""

    def __init__(self):
        self._made = {}

    def __getitem__(self, part):
        return self._made.setdefault(part.stop, make_source(part.stop, (1, 1, 1)))


PICTURES = _Prefixes()


def test_epochs_differ():
    seen = labels(train_batches(PICTURES[:30], batch_size=30, seed=0), 2).reshape(2, 30)
    assert (seen[0] != seen[1]).any()


def test_the_order_is_uniform():
    """Over 2,000 epochs of 5, an example stands at each place a fifth of the time (5 sigma)."""
    seen = labels(train_batches(PICTURES[:5], batch_size=500, seed=0), 20).reshape(2000, 5)
    counts = (seen[:, :, None] == np.arange(5)).sum(0)
    assert np.abs(counts - 400).max() < 5 * np.sqrt(2000 * 0.2 * 0.8)


@settings(deadline=None, max_examples=25)
@given(
    processes=st.integers(1, 4),
    rows=st.integers(1, 4),
    step=st.integers(0, 50),
    options=st.sampled_from([{}, RANDOM]),
)
def test_processes_share_the_global_batch(processes, rows, step, options):
    size = processes * rows
    whole = train_batches(SOURCE, batch_size=size, seed=5, **options)[step]
    parts = [
        train_batches(
            SOURCE, batch_size=size, seed=5, process_index=p, process_count=processes, **options
        )[step]
        for p in range(processes)
    ]
    assert_same(whole, {k: np.concatenate([part[k] for part in parts]) for k in whole})


@pytest.mark.parametrize("options", [{}, RANDOM])
@pytest.mark.parametrize("start", [0, 1, 13, 10**6])
def test_iterating_starts_anywhere(options, start):
    batches = train_batches(SOURCE, batch_size=4, seed=0, **options)
    for step, batch in zip(range(start, start + 4), batches.iterate(start), strict=False):
        assert_same(batch, batches[step])


@pytest.mark.slow
def test_worker_processes_change_nothing():
    alone = train_batches(SOURCE, batch_size=4, seed=0, **RANDOM)
    helped = train_batches(SOURCE, batch_size=4, seed=0, workers=2, **RANDOM)
    for step, batch in zip(range(3, 9), helped.iterate(3), strict=False):
        assert_same(batch, alone[step])


@settings(deadline=None, max_examples=40)
@given(n=st.integers(1, 30), rows=st.integers(1, 12), processes=st.integers(1, 3))
def test_evaluation_sees_every_example_once(n, rows, processes):
    """Whatever the batch size, with the same number of batches in every process."""
    size = rows * processes
    seen = []
    for p in range(processes):
        batches = eval_batches(
            PICTURES[:n], batch_size=size, process_index=p, process_count=processes
        )
        assert len(batches) == -(-n // size) == len(list(batches))
        for batch in batches:
            assert batch["image"].shape == (rows, 1, 1, 1)
            real = batch["mask"] == 1
            assert set(batch["mask"]) <= {0, 1}
            assert not batch["label"][~real].any()
            assert not batch["image"][~real].any()
            seen += batch["label"][real].tolist()
    assert sorted(seen) == list(range(n))


def test_evaluation_streams_in_order_too():
    source = make_source(10)
    kept = eval_batches(source, kept_load(source), batch_size=4)
    anew = eval_batches(source, kept_load(source), batch_size=4, in_memory=False)
    for a, b, i in zip(kept, anew, itertools.count(), strict=False):
        assert_same(a, b)
        assert_same(a, anew[i])
    with pytest.raises(IndexError):
        anew[3]


@pytest.mark.parametrize("options", [{}, RANDOM])
def test_a_corrupt_record_is_named(options):
    source = make_source(10, corrupt=[6])
    with pytest.raises(
        DataError, match=r"pictures, split train, record 6 \(picture 6\) is corrupt"
    ):
        list(itertools.islice(train_batches(source, batch_size=5, seed=0, **options).iterate(), 2))


@pytest.mark.parametrize("options", [{}, RANDOM])
def test_training_puts_the_next_good_record_in_the_place(options):
    source = make_source(10, corrupt=[3, 4, 9], skip_corrupt=True)
    batches = train_batches(source, batch_size=10, seed=0, **options)
    good = train_batches(make_source(10), batch_size=10, seed=0, **options)
    for step in range(3):
        expected = [{3: 5, 4: 5, 9: 0}.get(i, i) for i in good[step]["label"].tolist()]
        assert batches[step]["label"].tolist() == expected
        assert batches[step]["mask"].all()
    assert sorted(batches.corrupt) == [3, 4, 9]
    assert "record 9 (picture 9) is corrupt" in batches.corrupt[9]


@pytest.mark.parametrize("streamed", [False, True])
def test_evaluation_masks_what_is_corrupt(streamed):
    source = make_source(10, corrupt=[0, 1, 7], skip_corrupt=True)
    batches = eval_batches(source, kept_load(source), batch_size=2, in_memory=not streamed)
    seen = [batch["label"][batch["mask"] == 1] for batch in batches]
    assert np.concatenate(seen).tolist() == [2, 3, 4, 5, 6, 8, 9]
    assert sorted(batches.corrupt) == [0, 1, 7]


@pytest.mark.slow
def test_corrupt_records_are_counted_across_processes():
    source = make_source(10, corrupt=[3], skip_corrupt=True)
    batches = train_batches(source, batch_size=5, seed=0, workers=2, **RANDOM)
    list(itertools.islice(batches.iterate(), 4))
    assert sorted(batches.corrupt) == [3]


def test_a_set_of_corrupt_records_is_an_error():
    source = make_source(3, corrupt=[0, 1, 2], skip_corrupt=True)
    with pytest.raises(DataError, match="all records are corrupt"):
        train_batches(source, batch_size=2, seed=0)


def test_a_record_of_another_size_is_corrupt():
    source = make_source(4)
    source.records.records[2] = make_source(4, (1, 5, 3))[2]
    with pytest.raises(DataError, match=r"record 2 .*shape \(1, 5, 3\), not \(4, 5, 3\)"):
        train_batches(source, batch_size=2, seed=0)


def test_what_cannot_be_asked_for():
    with pytest.raises(
        DataError, match=r"batch_size=5: wanted a positive multiple of .* processes, 2"
    ):
        train_batches(SOURCE, batch_size=5, seed=0, process_count=2)
    with pytest.raises(DataError, match="crop=left: choose"):
        image_loader(SOURCE, None, "left")
    with pytest.raises(DataError, match="such as image_size=224"):
        train_batches(make_source(3, fixed_size=False), batch_size=5, seed=0)
    with pytest.raises(IndexError):
        train_batches(SOURCE, batch_size=5, seed=0)[-1]


def test_importing_and_reading_need_neither_jax_nor_tensorflow(tmp_path):
    """A data process stays small; and no device is touched."""
    code = (
        "import sys; from cnn_jax.data import *;"
        "assert not {'jax', 'tensorflow', 'tensorflow_datasets', 'grain'} & set(sys.modules);"
        f"source = load_source('digits', 'train', data_dir={str(tmp_path)!r});"
        "train_batches(source, batch_size=8, seed=0)[0];"
        "assert not {'jax', 'tensorflow'} & set(sys.modules)"
    )
    environment = {**os.environ, "TFDS_DATA_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
