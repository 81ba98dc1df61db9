"""A table of several networks: accuracy, parameters, multiply-adds, images a second.

It is a CSV file that grows by a row for each network; what has a row is not measured again.
"""

import csv
import dataclasses
import glob
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax import models
from cnn_jax.analysis import summary
from cnn_jax.data import reading
from cnn_jax.run import measuring
from cnn_jax.run import workdir as workdirs
from cnn_jax.run.tables import write_rows
from cnn_jax.stores import local_path

# What tells rows apart: the network, its weights, and how it was measured.
KEYS = ("network", "weights", "dataset", "split", "precision", "views", "labels", "batch_size")


@dataclasses.dataclass(frozen=True)
class Named:
    """A network to measure: a run, or a model with published weights ('' for none)."""

    model: str = ""
    pretrained: str = ""
    run: str = ""

    @property
    def key(self) -> dict[str, str]:
        """The columns that name it."""
        return {"network": self.run or self.model, "weights": "" if self.run else self.pretrained}


def listed(*, model: str = "", pretrained: str = "", run: str = "") -> list[Named]:
    """The networks that are meant, each once.

    Args:
        model: a name; a pattern of names, 'resnet*'; several, with commas; or '@FILE', with a
            network a line: a run directory, or a name and its weights.
        pretrained: weights; '{model}' in it stands for the name.
        run: a run directory; a pattern of them; several, with commas; or '@FILE'.

    Raises:
        ValueError: there is none, or a file has another form.
    """
    found: list[Named] = []
    for part in _parts(run):
        if part.startswith("@"):
            found += _of_file(part[1:], pretrained)
        elif glob.has_magic(part) and not Path(part).exists():
            places = [place for place in sorted(glob.glob(part)) if _is_run(place)]
            if not places:
                raise ValueError(f"run={part}: no run directory is called so.")
            found += [Named(run=place) for place in places]
        else:
            found.append(Named(run=part))
    for part in _parts(model):
        if part.startswith("@"):
            found += _of_file(part[1:], pretrained)
            continue
        names = [part]
        if glob.has_magic(part):
            names = models.list_models(part)
            if not names:
                raise ValueError(f"model={part}: no network for classification is called so.")
        found += [Named(name, pretrained.replace("{model}", name)) for name in names]
    if len(found) > 1 and pretrained and "{model}" not in pretrained:
        several = [each for each in found if each.pretrained == pretrained]
        if len(several) > 1:
            raise ValueError(
                f"pretrained={pretrained}: these are weights for one network, and there are "
                f"{len(several)}. Write '{{model}}' where their names differ, or a file of names "
                "and weights, model=@FILE."
            )
    return list(dict.fromkeys(found))


def is_several(text: str) -> bool:
    """Whether a name may stand for several."""
    return text.startswith("@") or glob.has_magic(text) or "," in text


def _parts(text: str) -> list[str]:
    if text.startswith("@"):
        return [text]
    return [part.strip() for part in text.split(",") if part.strip()]


def _is_run(place: str) -> bool:
    return (Path(place) / workdirs.RECIPE_FILE).is_file()


def _of_file(name: str, pretrained: str) -> list[Named]:
    found = []
    path = local_path(name)
    for line in reading.read_lines(path):
        if line.startswith("#"):
            continue
        first, _, rest = line.partition(" ")
        if first in models.MODELS:
            weights = rest.strip() or pretrained.replace("{model}", first)
            found.append(Named(first, weights))
        elif _is_run(line) or "://" in line:
            found.append(Named(run=line))
        else:
            raise ValueError(
                f"{path}: {line!r} is neither a network's name with its weights nor a run "
                "directory."
            )
    if not found:
        raise ValueError(f"{path} names no network.")
    return found


class Table:
    """The rows measured so far, in a file."""

    def __init__(self, path: Path):
        """
        Args:
            path: path of the file, read if it is there.

        Raises:
            ValueError: it is no such table.
        """
        self.path = path
        self.rows: list[dict[str, Any]] = []
        if path.exists():
            with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
                self.rows = [dict(row) for row in csv.DictReader(file)]
            if any(set(KEYS) - set(row) or None in row for row in self.rows):
                raise ValueError(f"{path} is no table of networks: choose another `output`.")

    def find(self, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """The row of this key; None for none."""
        wanted = {name: str(key[name]) for name in KEYS}
        same = (row for row in self.rows if all(str(row[n]) == wanted[n] for n in KEYS))
        return next(same, None)

    def add(self, row: Mapping[str, Any]) -> None:
        """Adds a row and writes the file, whole or not at all."""
        self.rows.append(dict(row))
        columns = list(dict.fromkeys(name for each in self.rows for name in each))
        partial = self.path.with_suffix(".csv.new")
        write_rows(partial, [{name: each.get(name, "") for name in columns} for each in self.rows])
        partial.replace(self.path)


def costs(model: nn.Module, input_shape: Sequence[int]) -> dict[str, int]:
    """Parameters and multiply-adds of a network, for one input (*space, C)."""
    return summary.total(summary.summarise(model, tuple(input_shape)))


def speed(
    name: str, *, batch_size: int, precision: str
) -> tuple[nn.Module, tuple[int, ...], float]:
    """A network without weights, its input and the images a second of its forward pass.

    Its parameters are zeros: the time does not depend on them.

    Raises:
        ValueError: see `measuring.of_precision`.
    """
    known = models.describe(name)
    model = models.create(name, num_classes=known.num_classes)
    model = measuring.of_precision(model, precision, name)
    x = jnp.zeros((batch_size, *known.input_shape))
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x[:1])
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    apply = jax.jit(lambda x: model.apply(variables, x, train=False))
    jax.block_until_ready(apply(x))
    return model, known.input_shape, measuring.rate(lambda: apply(x), batch_size)
