"""Examples of equal content, within a split and across splits.

Only files of equal size are read: their first and last EDGE bytes, and all of those that agree in
these.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from cnn_jax.data.survey.rows import NO_LABEL, content_hash, in_chunks
from cnn_jax.data.survey.values import SHOWN, Copies
from cnn_jax.data.types import Source

EDGE = 1 << 16

# split -> ROW [n], see `rows`
Tables = Mapping[str, np.ndarray]


def fill_contents(
    sources: Mapping[str, Source],
    tables: Tables,
    *,
    threads: int,
    stopped: Callable[[], bool],
) -> None:
    """Fills in 'content' of the rows whose size in bytes another has."""
    for whole in (False, True):
        for name, indices in _alike(tables, whole).items():
            table, read = tables[name], partial(_hashes, sources[name], whole)
            for start, hashes in in_chunks(read, indices.tolist(), threads, stopped):
                table["content"][indices[start : start + len(hashes)]] = hashes


def _alike(tables: Tables, whole: bool) -> dict[str, np.ndarray]:
    """The rows to read: without a content and of one size; or, to read whole, equal at the edges
    and with more between these."""
    found = {}
    size = np.concatenate([table["bytes"] for table in tables.values()])
    content = np.concatenate([table["content"] for table in tables.values()])
    if whole:
        some = (size > 2 * EDGE) & (content != 0)
        repeated = _repeated(size, content, some)
    else:
        repeated = _repeated(size, np.zeros_like(content), size > 0) & (content == 0)
    start = 0
    for name, table in tables.items():
        found[name] = np.flatnonzero(repeated[start : start + len(table)])
        start += len(table)
    return found


def _repeated(size: np.ndarray, content: np.ndarray, among: np.ndarray) -> np.ndarray:
    """bool [n]: the rows, of those `among`, whose size and content another of them has."""
    indices = np.flatnonzero(among)
    groups, _ = _groups(size[indices], content[indices])
    result = np.zeros(len(size), bool)
    result[indices] = np.bincount(groups)[groups] > 1 if len(groups) else False
    return result


def _groups(size: np.ndarray, content: np.ndarray) -> tuple[np.ndarray, int]:
    """The number of the group of each row: int [n], those of equal size and content; their count"""
    order = np.lexsort((content, size))
    new = np.ones(len(order), bool)
    new[1:] = (np.diff(size[order]) != 0) | (np.diff(content[order]) != 0)
    groups = np.empty(len(order), np.int64)
    groups[order] = np.cumsum(new) - 1
    return groups, int(new.sum())


def _hashes(source: Source, whole: bool, indices: Sequence[int]) -> np.ndarray:
    found = np.zeros(len(indices), np.uint64)
    for row, record in enumerate(source.__getitems__(list(indices))):
        image = record["image"]
        if isinstance(image, Path):
            try:
                found[row] = _hash_file(image, whole)
            except OSError:  # gone meanwhile: reading it raises an error with its name
                continue
    return found


def _hash_file(path: Path, whole: bool) -> int:
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if whole or size <= 2 * EDGE:
            return content_hash(file.read())
        start = file.read(EDGE)
        file.seek(-EDGE, os.SEEK_END)
        return content_hash(start + file.read())


def copies_within(source: Source, table: np.ndarray, *, contradicting: bool = False) -> Copies:
    """The examples of equal content in a split; or those alone whose labels differ."""
    known = np.flatnonzero(table["content"])
    groups, count = _groups(table["bytes"][known], table["content"][known])
    sizes = np.bincount(groups, minlength=count)
    chosen = sizes > 1
    if contradicting:
        label = table["label"][known]
        least, most = np.full(count, np.iinfo(np.int32).max), np.full(count, NO_LABEL)
        np.minimum.at(least, groups, label)
        np.maximum.at(most, groups, label)
        chosen &= (least != most) & (least != NO_LABEL)
    members = np.flatnonzero(chosen[groups])
    first: dict[int, list[int]] = {}
    for one in members:  # in the order of the examples
        if len(first) == SHOWN and groups[one] not in first:
            continue
        first.setdefault(int(groups[one]), []).append(int(known[one]))
        if len(first) == SHOWN and all(len(some) >= min(SHOWN, sizes[g]) for g, some in
                                       first.items()):  # fmt: skip
            break
    return Copies(
        groups=int(chosen.sum()),
        spare=int((sizes[chosen] - 1).sum()),
        first=tuple(
            tuple(named(source, index) for index in some[:SHOWN]) for some in first.values()
        ),
    )


def copies_across(sources: Mapping[str, Source], tables: Tables) -> tuple[Copies, dict[str, int]]:
    """The examples of later splits whose content is in the first split too; how many of them each
    of these splits has, of those that have any."""
    (own, table), *others = tables.items()
    groups = 0
    spare: dict[str, int] = {}
    first: list[tuple[str, str]] = []
    for name, other in others:
        if sources[name].records is sources[own].records:
            continue
        mine, its = np.flatnonzero(table["content"]), np.flatnonzero(other["content"])
        number, _ = _groups(
            np.concatenate([table["bytes"][mine], other["bytes"][its]]),
            np.concatenate([table["content"][mine], other["content"][its]]),
        )
        left, right = number[: len(mine)], number[len(mine) :]
        shared = np.isin(right, left)
        groups += len(np.unique(right[shared]))
        if shared.any():
            spare[name] = int(shared.sum())
        for row in np.flatnonzero(shared)[: SHOWN - len(first)]:
            twin = int(mine[np.flatnonzero(left == right[row])[0]])
            pair = named(sources[own], twin), named(sources[name], int(its[row]))
            first.append(pair)
    return Copies(groups, sum(spare.values()), tuple(first)), spare


def named(source: Source, index: int) -> str:
    """The name of an example, for people."""
    return source.records.describe(index) or f"record {index} of {source.split}"
