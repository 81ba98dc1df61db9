"""Packs CIFAR-10 into one file for a machine that has neither TFDS nor a way to the internet.

    python -m experiments.benchmark.accelerator.pack --data_dir=DIR --output=cifar10.npz
    python -m experiments.benchmark.accelerator.pack --pickles=DIR --output=cifar10.npz

The first reads what TFDS has prepared, the second the Python pickles of www.cs.toronto.edu/~kriz/
cifar.html, without running what they might hold. Shapes, counts and a hash of all pixels and labels
are printed, and again by the benchmark that reads the file.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from experiments import entry
from experiments.benchmark.accelerator import cifar_file

# All that a pickle of arrays needs, by the names of NumPy 1 and 2
HARMLESS = {
    ("_codecs", "encode"),
    *(
        (module, name)
        for module in ("numpy.core.multiarray", "numpy._core.multiarray", "numpy")
        for name in ("_reconstruct", "ndarray", "dtype")
    ),
}


class Arrays(pickle.Unpickler):
    """Reads arrays, and nothing that runs."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in HARMLESS:
            raise pickle.UnpicklingError(f"it holds {module}.{name}, which is no array")
        return super().find_class(module, name)


def from_pickles(folder: Path) -> dict[str, np.ndarray]:
    """The four arrays from `data_batch_1` to `data_batch_5` and `test_batch`.

    Raises:
        ValueError: a file is missing or is none of CIFAR-10's.
    """
    parts = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}
    arrays = {}
    for split, names in parts.items():
        batches = [_batch(folder / name) for name in names]
        pixels = np.concatenate([x for x, _ in batches])  # [N, 3 * 32 * 32], a channel at a time
        arrays[f"x_{split}"] = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        arrays[f"y_{split}"] = np.concatenate([y for _, y in batches])
    return arrays


def _batch(file: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with file.open("rb") as opened:
            stored = Arrays(opened, encoding="bytes").load()
        pixels, labels = np.asarray(stored[b"data"], np.uint8), stored[b"labels"]
        return pixels.reshape(-1, 3072), np.asarray(labels, np.uint8)
    except (OSError, EOFError, KeyError, TypeError, ValueError, pickle.UnpicklingError) as error:
        raise ValueError(
            f"{file}: wanted a batch of CIFAR-10's Python version; {type(error).__name__}: {error}"
        ) from None


def from_tfds(data_dir: str) -> dict[str, np.ndarray]:
    """The four arrays from TFDS's `cifar10`, prepared as array_record."""
    from cnn_jax import data  # brings TFDS, which a machine with pickles need not have

    arrays = {}
    for split in ("train", "test"):
        source = data.load_source("cifar10", split, data_dir=data_dir or None)
        loaded = data.eval_batches(source, batch_size=len(source))[0]
        arrays[f"x_{split}"] = np.asarray(loaded["image"], np.uint8)
        arrays[f"y_{split}"] = np.asarray(loaded["label"], np.uint8)
    return arrays


def define_flags() -> None:
    flags.DEFINE_string("data_dir", "", "Directory of TFDS's data sets; '' for TFDS's own.")
    flags.DEFINE_string("pickles", "", "Directory of CIFAR-10's Python pickles; '' for TFDS.")
    flags.DEFINE_string("output", "cifar10.npz", "File to write.")


def main() -> int:
    chosen = flags.FLAGS
    if chosen.pickles:
        arrays = from_pickles(Path(chosen.pickles))
    else:
        arrays = from_tfds(chosen.data_dir)
    cifar_file.write(chosen.output, arrays)
    size = Path(chosen.output).stat().st_size
    print(f"{chosen.output}: {size / 2**20:.0f} MiB, {cifar_file.description(arrays)}")
    return 0


if __name__ == "__main__":
    entry.launch(main, define=define_flags)
