"""The splits of a data set of Hugging Face's `datasets` on disk; nothing is downloaded.

PATH/dataset_dict.json, PATH/train/, ...          by DatasetDict.save_to_disk
PATH/state.json, PATH/*.arrow                     by Dataset.save_to_disk: one split, 'all'
PATH/data/train-00000-of-00001.parquet, ...       Parquet, as the hub has it
PATH/train.parquet, PATH/train/0000.parquet
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cnn_jax.data import remote
from cnn_jax.data.errors import DataError
from cnn_jax.data.readers import split_names


class Stored(NamedTuple):
    """One split: a `datasets.Dataset`, and the files that it is read from."""

    rows: Any
    files: list[Path]


def open_splits(path: str) -> tuple[Path, dict[str, Stored]]:
    """The folder, and its splits by their names; {'all': ...} if it has none.

    Raises:
        DataError: `datasets` is not installed; there is no such folder, or no data set in it; it
            cannot be read.
    """
    dataset = f"hf:{path}"
    root = remote.here(dataset, path)
    if not path or not os.path.isdir(root):
        raise DataError(
            f"{dataset}: there is no folder {root}; write hf:FOLDER. A set of the hub is brought "
            "there by datasets.load_dataset(NAME).save_to_disk(FOLDER)"
        )
    library = _library(dataset)
    with _one_line(dataset, library):
        if os.path.isfile(root / "dataset_dict.json") or os.path.isfile(root / "state.json"):
            loaded = library.load_from_disk(str(root))
            found = loaded if isinstance(loaded, library.DatasetDict) else {"all": loaded}
            splits = {
                str(name): Stored(rows, [Path(file["filename"]) for file in rows.cache_files])
                for name, rows in found.items()
            }
        else:
            splits = {
                name: Stored(library.Dataset.from_parquet([str(file) for file in files]), files)
                for name, files in _parquet(root, dataset).items()
            }
    renamed: dict[str, Stored] = {}
    for name, stored in splits.items():
        plain = split_names.canonical(name) or name
        if plain in renamed:
            raise DataError(f"{dataset}: two splits are {plain!r}: remove or rename one")
        renamed[plain] = stored
    return root, renamed


def _parquet(root: Path, dataset: str) -> dict[str, list[Path]]:
    """Split -> its files; the split is in the name of a file or of its folder."""
    files = sorted(file for file in root.rglob("*.parquet") if not file.name.startswith("."))
    if not files:
        raise DataError(
            f"{dataset}: {root} holds neither what save_to_disk writes (dataset_dict.json or "
            "state.json) nor Parquet files"
        )
    found: dict[str, list[Path]] = {}
    for file in files:
        in_file = split_names.canonical(re.split(r"[-_.]", file.stem)[0])
        in_folder = split_names.canonical(file.parent.name) if file.parent != root else None
        found.setdefault(in_file or in_folder or "all", []).append(file)
    if len(found) > 1 and "all" in found:
        raise DataError(
            f"{dataset}: {found['all'][0]} names no split, and others do: put train, val or test "
            "at the start of its name, or remove it"
        )
    for name, of_split in found.items():
        folders = sorted({file.parent for file in of_split})
        if len(folders) > 1:  # the configurations of a set, which are several sets
            raise DataError(
                f"{dataset}: {name!r} is in {folders[0]} and in {folders[1]}: write the folder of "
                f"one of them, hf:{folders[0]}"
            )
    return found


def _library(dataset: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"{dataset}: it is read by the package `datasets`, which is not installed: pip install "
            "'cnn-jax[hf]'"
        ) from error
    return datasets


@contextlib.contextmanager
def _one_line(dataset: str, library: Any) -> Iterator[None]:
    """Without the library's progress bars; what it raises becomes a DataError."""
    quiet = library.are_progress_bars_disabled()
    library.disable_progress_bars()
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # Arrow has its own exceptions, and so have the features
        raise DataError(
            f"{dataset} cannot be read: {type(error).__name__}: {str(error)[:300]}; save it again, "
            "or with a version of `datasets` that is not newer than the one here"
        ) from error
    finally:
        if not quiet:
            library.enable_progress_bars()
