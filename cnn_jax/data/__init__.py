"""Data sets by name, and batches of them as functions of (seed, step). Does not import jax.

source = load_source("cifar10", "train[:90%]", data_dir="data")
batches = train_batches(source, batch_size=128, seed=0)
for batch in batches.iterate(start=0): ...  # {'image', 'label', 'mask'}
"""

from cnn_jax.data.errors import DataError
from cnn_jax.data.pipeline import EvalBatches, TrainBatches, eval_batches, train_batches
from cnn_jax.data.preprocessing import Statistics, statistics
from cnn_jax.data.source import Source, load_source

__all__ = [
    "DataError",
    "EvalBatches",
    "Source",
    "Statistics",
    "TrainBatches",
    "eval_batches",
    "load_source",
    "statistics",
    "train_batches",
]
