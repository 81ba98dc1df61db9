"""Data sets by name, and batches of them as functions of (seed, step). Does not import jax.

source = load_source("cifar10", "train[:90%]", data_dir="data")
batches = train_batches(source, batch_size=128, seed=0)
for batch in batches.iterate(start=0): ...  # {'image', 'label', 'mask'}
"""

from cnn_jax.data import fingerprint
from cnn_jax.data.errors import DataError
from cnn_jax.data.loaders import boxes
from cnn_jax.data.loaders import mask as masks
from cnn_jax.data.pipeline import EvalBatches, TrainBatches, eval_batches, train_batches
from cnn_jax.data.pixel_statistics import Statistics, statistics
from cnn_jax.data.source import load_source
from cnn_jax.data.types import Source

__all__ = [
    "DataError",
    "EvalBatches",
    "Source",
    "Statistics",
    "TrainBatches",
    "boxes",
    "eval_batches",
    "fingerprint",
    "load_source",
    "masks",
    "statistics",
    "train_batches",
]


def __dir__() -> list[str]:
    return __all__
