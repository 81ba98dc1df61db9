"""Weights in several files, joined by an index: model.safetensors.index.json and its like.

{"weight_map": {"conv1.weight": "model-00001-of-00002.safetensors", ...}}
"""

import json
import re
from pathlib import Path

from cnn_jax.weights.errors import WeightsError

_LARGEST = 100_000_000  # bytes of an index; one of a million names has about that
_PART = re.compile(r"(.+?)-(\d{5})-of-(\d{5})(\.\w+)")
# What a directory with weights holds, in the order tried; the Hub's repositories likewise.
FILES = (
    "model.safetensors",
    "pytorch_model.bin",
    "model.safetensors.index.json",
    "pytorch_model.bin.index.json",
)


def is_index(path: Path) -> bool:
    """Whether this is the index of weights in several files."""
    return path.name.endswith(".index.json")


def weight_map(path: Path, *, complete: bool = True) -> dict[str, str]:
    """Name of each tensor -> name of the file beside the index that has it.

    Args:
        path: the index.
        complete: whether these files must be there.

    Raises:
        WeightsError: the index is damaged, or names a file elsewhere.
        FileNotFoundError: there is no such index.
    """
    if path.stat().st_size > _LARGEST:
        raise WeightsError(f"{path}: too large for an index of weights")
    try:
        places = json.loads(path.read_bytes())["weight_map"]
        files = {name: str(file) for name, file in places.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise WeightsError(
            f"{path}: no index of weights: wanted a JSON object with a 'weight_map' from names to "
            "files"
        ) from error
    for file in {*files.values()}:
        if Path(file).name != file or file in ("", ".", ".."):
            raise WeightsError(f"{path}: names the file {file[:60]!r}; wanted one beside the index")
    if not files:
        raise WeightsError(f"{path}: the index names no tensors")
    if complete and (
        missing := sorted(f for f in {*files.values()} if not (path.parent / f).is_file())
    ):
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise WeightsError(
            f"{path}: {', '.join(missing[:3])}{more} of its {len({*files.values()})} files are not "
            "beside it: fetch them too"
        )
    return files


def index_of(path: Path) -> str:
    """The name of the index that a part of several files belongs to; '' if it is no such part."""
    match = _PART.fullmatch(path.name)
    if match is None or int(match[3]) < 2:
        return ""
    return f"{match[1]}{match[4]}.index.json"


def holds_weights(directory: Path) -> bool:
    """Whether a directory has weights, as a copy of a Hub's repository has."""
    return any((directory / name).is_file() for name in FILES)


def in_directory(directory: Path) -> Path:
    """The weights in a directory.

    Raises:
        WeightsError: it has none, or not one that is known by its name.
    """
    for name in FILES:
        if (directory / name).is_file():
            return directory / name
    endings = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
    others = sorted(file.name for file in directory.iterdir() if file.suffix in endings)
    if len(others) == 1:
        return directory / others[0]
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    has = f"it has {', '.join(others[:3])}{more}" if others else "it has none"
    raise WeightsError(f"{directory}: a directory; wanted a weights file: {has}")
