"""CIFAR-10 in one file of NumPy, `x_train`, `y_train`, `x_test`, `y_test`: written and checked."""

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

SHAPE = (32, 32, 3)
NAMES = ("x_train", "y_train", "x_test", "y_test")


def check(arrays: Mapping[str, np.ndarray], where: str) -> None:
    """Raises ValueError, in one line, for what is not CIFAR-10's form."""
    for name in NAMES:
        if name not in arrays:
            raise ValueError(f"{where} has no array {name}: wanted {', '.join(NAMES)}.")
    for split in ("train", "test"):
        x, y = arrays[f"x_{split}"], arrays[f"y_{split}"]
        if x.shape[1:] != SHAPE or x.dtype != np.uint8:
            raise ValueError(
                f"{where}: x_{split} is {x.dtype} {list(x.shape)}: wanted uint8 [N, 32, 32, 3]."
            )
        if y.shape != x.shape[:1] or not np.issubdtype(y.dtype, np.integer):
            raise ValueError(
                f"{where}: y_{split} is {y.dtype} {list(y.shape)}: wanted whole numbers "
                f"[{len(x)}], one for each image."
            )
        if len(y) == 0 or y.min() < 0 or y.max() > 9:
            raise ValueError(f"{where}: y_{split} must have labels, and all of them in 0..9.")


def write(file: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes the file, compressed, whole or not at all."""
    check(arrays, file)
    partial = Path(file + ".partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    with partial.open("wb") as out:
        np.savez_compressed(out, **{name: arrays[name] for name in NAMES})  # type: ignore[arg-type]
    partial.replace(file)


def read(file: str) -> dict[str, np.ndarray]:
    """The four arrays; labels int32.

    Raises:
        ValueError: there is no such file, or it is none of ours.
    """
    try:
        with np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in NAMES if name in stored.files}
    except (OSError, ValueError, zipfile.BadZipFile, AttributeError) as error:
        raise ValueError(
            f"{file}: wanted CIFAR-10 packed by python -m experiments.benchmark.accelerator.pack; "
            f"{type(error).__name__}: {str(error)[:100]}"
        ) from None
    check(arrays, file)
    return {name: a.astype(np.int32) if name[0] == "y" else a for name, a in arrays.items()}


def description(arrays: Mapping[str, np.ndarray]) -> str:
    """Counts, images per class, and a hash of all bytes."""
    parts = []
    for split in ("train", "test"):
        counts = np.bincount(arrays[f"y_{split}"], minlength=10)
        least, most = counts.min(), counts.max()
        each = f"{least}" if least == most else f"{least} to {most}"
        parts.append(f"{len(arrays[f'x_{split}'])} {split} images ({each} of each class)")
    bits = hashlib.sha256()
    for name in NAMES:
        stored = np.asarray(arrays[name], np.uint8)
        bits.update(np.ascontiguousarray(stored).tobytes())
    return f"{', '.join(parts)}, sha256 {bits.hexdigest()[:16]}"
