"""The table of what opens a data set."""

import pkgutil
import subprocess
import sys

import pytest

from cnn_jax.data import DataError, load_source
from cnn_jax.data import opening as openers
from cnn_jax.data.loaders.boxes import load_box_source
from cnn_jax.data.loaders.mask import load_mask_source

EVERY = [(holds, key) for holds, table in openers.OPENERS.items() for key in table]


@pytest.mark.parametrize(("holds", "key"), EVERY)
def test_every_opener_is_there(holds, key):
    assert callable(pkgutil.resolve_name(openers.OPENERS[holds][key]))


def test_opening_one_kind_imports_no_other():
    code = (
        "import sys; from cnn_jax.data import load_source; load_source('mnist1d', 'train');"
        "print([m for m in ('tensorflow_datasets', 'jax', 'cnn_jax.data.readers.folder') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("load", "dataset", "said"),
    [
        (load_source, "folder:/nowhere", "there is no folder /nowhere; write folder:PATH"),
        (load_source, "folder", "write folder:PATH"),
        (load_mask_source, "masks:/nowhere", "there is no folder /nowhere; write masks:PATH"),
        (load_box_source, "coco:/nowhere", "there is no folder /nowhere; write coco:PATH"),
        (load_box_source, "voc:/nowhere", "there is no folder /nowhere; write voc:PATH"),
    ],
)
def test_what_is_not_there_is_refused_by_what_opens_it(load, dataset, said):
    with pytest.raises(DataError, match=said):
        load(dataset, "train")


def test_an_empty_split_is_refused():
    with pytest.raises(DataError, match=r"split 'train\[:0%\]' of mnist1d is empty"):
        load_source("mnist1d", "train[:0%]")
