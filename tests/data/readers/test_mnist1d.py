"""The built-in mnist1d against the package of its author, and against numbers noted from it."""

import numpy as np
import pytest

from cnn_jax.data import (
    DataError,
    eval_batches,
    image_loader,
    load_source,
    statistics,
    train_batches,
)
from cnn_jax.data.readers.mnist1d import make


@pytest.mark.parametrize("shuffled", [False, True])
def test_equal_to_the_authors_package(shuffled):
    package = pytest.importorskip("mnist1d.data")
    arguments = package.get_dataset_args()
    arguments.shuffle_seq = shuffled
    expected = package.make_dataset(arguments)
    values, labels = make(shuffled=shuffled)
    x = np.concatenate([expected["x"], expected["x_test"]])
    np.testing.assert_allclose(values[..., 0], x, atol=1e-6)
    np.testing.assert_array_equal(labels, np.concatenate([expected["y"], expected["y_test"]]))


# Of mnist1d 0.0.2.post1, with NumPy 2.4 and SciPy 1.17: examples 0 and 4999, places 0 and 39.
GOLDEN = {
    False: [-0.332006, -0.890166, -0.519329, 1.193152],
    True: [1.035874, -0.778697, 0.615838, -1.281038],
}


@pytest.mark.parametrize("shuffled", [False, True])
def test_the_numbers_never_change(shuffled):
    values, labels = make(shuffled=shuffled)
    corners = values[[0, 0, -1, -1], [0, -1, 0, -1], 0]
    np.testing.assert_allclose(corners, GOLDEN[shuffled], atol=1e-5)
    assert labels[:8].tolist() == [2, 6, 4, 5, 6, 6, 6, 0]


def test_the_twin_is_one_permutation_of_the_places():
    plain, shuffled = make()[0][..., 0], make(shuffled=True)[0][..., 0]
    # float32 of the same float64: equal but for the order, in which the mean was added up
    np.testing.assert_allclose(np.sort(plain), np.sort(shuffled), atol=1e-6)
    order = [int(np.abs(plain - shuffled[:, [i]]).max(0).argmin()) for i in range(40)]
    assert sorted(order) == list(range(40))
    assert order != list(range(40))
    np.testing.assert_allclose(plain[:, order], shuffled, atol=1e-6)


def test_batches_are_float_sequences():
    source = load_source("mnist1d", "train")
    batch = train_batches(source, batch_size=32, seed=0)[0]
    assert (batch["image"].shape, batch["image"].dtype) == ((32, 40, 1), np.float32)
    assert (batch["label"].shape, batch["label"].dtype) == ((32,), np.int32)
    assert len(source) == 4000
    assert len(load_source("mnist1d", "test")) == 1000
    assert statistics("mnist1d", 1) == ((0.0,), (1.0,))


def test_every_test_example_once():
    source = load_source("mnist1d_shuffled", "test[:10%]")
    batches = list(eval_batches(source, batch_size=32))
    assert sum(batch["mask"].sum() for batch in batches) == 100


@pytest.mark.parametrize(
    ("split", "options", "message"),
    [
        ("valid", {}, "no split 'valid': it has 'train', 'test'"),
        ("train", {"channels": 3}, "mnist1d holds no images"),
    ],
)
def test_what_does_not_fit_is_refused(split, options, message):
    with pytest.raises(DataError, match=message):
        load_source("mnist1d", split, **options)


def test_sequences_are_not_resized():
    with pytest.raises(DataError, match="holds no images"):
        image_loader(load_source("mnist1d", "train"), 32)
