"""Where the runs are that are meant, and what they are called beside each other."""

import glob
import os
from collections.abc import Iterable, Sequence

from cnn_jax.run import resuming
from cnn_jax.run import workdir as workdirs
from cnn_jax.stores import is_store, local_path


def directories_in(places: Iterable[str | os.PathLike[str]]) -> list[str]:
    """The run directories that are meant, each once.

    Raises:
        ValueError: there is none in one of the places.
    """
    found: dict[str, str] = {}
    for given in places:
        place = os.fspath(given)
        if not place:
            raise ValueError("'' is no place of runs: give run directories.")
        if is_store(place):
            found.setdefault(place.rstrip("/"), place.rstrip("/"))
            continue
        path = str(local_path(place))
        meant = (
            [path] if os.path.isdir(path) or not glob.has_magic(path) else sorted(glob.glob(path))
        )
        runs = [run for each in meant for run in _below(each)]
        if not runs:
            raise ValueError(f"{place}: no run directory is there, or below it.{_hint(meant)}")
        for run in runs:
            found.setdefault(os.path.realpath(run), run)
    return list(found.values())


def _hint(paths: Iterable[str]) -> str:
    """What to give in the place of directories that `experiments.evaluate` has left."""
    for path in paths:
        for _, _, files in os.walk(path):
            if "figures.json" in files:
                return (
                    " It has evaluations: give the runs that they are of, and this directory as "
                    "`evaluations`."
                )
    return ""


def _below(path: str) -> list[str]:
    """The run directories at a path and below it; nothing inside a run is looked at."""
    runs = []
    for folder, below, files in os.walk(path):
        if workdirs.RECIPE_FILE in files or resuming.CHECKPOINTS in below:
            runs.append(folder)
            below.clear()
        below.sort()
    return runs


def short_names(runs: Sequence[tuple[str, str]]) -> list[str]:
    """The shortest ends of their paths that tell runs apart.

    Args:
        runs: (place, name) of each, where the name begins with the place.
    """
    paths = [place.rstrip("/").split("/") for place, _ in runs]
    tails = [name.removeprefix(place) for place, name in runs]
    whole = {tuple(path) for path in paths}
    for depth in range(1, max(map(len, paths)) + 1):
        if len({tuple(path[-depth:]) for path in whole}) == len(whole):
            break
    return ["/".join(p[-depth:]) + tail for p, tail in zip(paths, tails, strict=True)]
