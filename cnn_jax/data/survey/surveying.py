"""Surveys the splits of a data set in one pass over what their files say, before training.

    survey_splits({"train": source, "test": other}, dataset="folder:PATH")

Headers are read, and no pixels; the content of files of equal size, for copies; and a sample of
SAMPLE masks. What was found is kept and taken again while nothing has changed, see `kept`.
"""

import logging
import time
from collections.abc import Callable, Mapping

import numpy as np

from cnn_jax.data.decode import decode_mask
from cnn_jax.data.loaders.mask import IGNORE, translation
from cnn_jax.data.survey import copies, kept, rows
from cnn_jax.data.survey.masks import evenly
from cnn_jax.data.survey.rows import Rows
from cnn_jax.data.survey.values import SHOWN, Masks, Some, SplitSurvey, Survey
from cnn_jax.data.types import Source

_log = logging.getLogger(__name__)

SAMPLE = 64  # masks that are decoded


def survey_splits(
    sources: Mapping[str, Source],
    *,
    dataset: str = "",
    keep: bool = True,
    threads: int = rows.THREADS,
    stopped: Callable[[], bool] = lambda: False,
) -> Survey:
    """Surveys the splits of a data set.

    Args:
        sources: the splits by their part in a run: 'train', 'test'. What is in the first and in
            another counts as shared.
        dataset: name of the set, as it is given to `open_source`.
        keep: whether to take an earlier survey of the same files, and to keep this one.
        threads: number of threads that read.
        stopped: asked now and then whether to stop.

    Raises:
        DataError: the records of a split cannot be read. A single image that cannot is counted.
        Stopped: `stopped` said so.
    """
    began = time.monotonic()
    dataset = dataset or next(iter(sources.values())).name
    place = kept.place_of(sources, dataset, threads=threads, stopped=stopped) if keep else None
    if place is not None and (earlier := place.read()) is not None:
        return earlier
    distinct = {id(source.records): source for source in sources.values()}
    read = {key: rows.read_rows(s, threads=threads, stopped=stopped) for key, s in distinct.items()}
    found = {name: read[id(source.records)] for name, source in sources.items()}
    tables = {name: found[name].table for name in _first_of_each(sources)}
    copies.fill_contents(sources, tables, threads=threads, stopped=stopped)
    first = next(iter(sources.values()))
    shared, shared_by = copies.copies_across(sources, {name: found[name].table for name in sources})
    result = Survey(
        dataset=dataset,
        holds=_holds(first),
        class_names=tuple(first.class_names),
        splits={name: _split(source, found[name]) for name, source in sources.items()},
        shared=shared,
        shared_by=shared_by,
        seconds=round(time.monotonic() - began, 3),
    )
    if place is not None:
        place.write(result)
    return result


def _first_of_each(sources: Mapping[str, Source]) -> list[str]:
    """A name for each source: the same may be used for training and for the test."""
    return list(
        {id(source.records): name for name, source in reversed([*sources.items()])}.values()
    )


def _holds(source: Source) -> str:
    record = source[0]
    return next((holds for holds in ("boxes", "mask") if holds in record), "label")


def _split(source: Source, found: Rows) -> SplitSurvey:
    table, num_classes = found.table, source.num_classes
    known = table[table["depth"] > 0]
    labels = table["label"]
    counts = np.bincount(labels[labels >= 0], minlength=num_classes)[:num_classes]
    masks, boxes = None, None
    if found.boxes is not None:
        boxes, counts = found.boxes.boxes(), found.boxes.per_class
    elif "mask" in source[0]:
        masks, counts = _masks(source)
    unreadable = sorted(found.unreadable)
    return SplitSurvey(
        split=source.split,
        examples=len(source),
        sizes=_sizes(known["space"]),
        orientations=dict(rows.counted(known["orientation"])),
        modes=dict(rows.counted(known["mode"])),
        depths=dict(rows.counted(known["depth"])),
        formats=dict(rows.counted(known["format"])),
        class_counts=tuple(map(int, counts)),
        boxes=boxes,
        masks=masks,
        left_out={
            reason: Some(len(files), tuple(files[:SHOWN]))
            for reason, files in source.left_out.items()
        },
        unreadable=Some(
            len(unreadable),
            tuple(
                f"{copies.named(source, index)} ({found.unreadable[index]})"
                for index in unreadable[:SHOWN]
            ),
        ),
        copies=copies.copies_within(source, table),
        contradictions=copies.copies_within(source, table, contradicting=True),
    )


def _sizes(space: np.ndarray) -> dict[tuple[int, ...], int]:
    """Size -> number of images, the most common first."""
    sizes, counts = np.unique(space, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return {tuple(int(side) for side in sizes[i] if side): int(counts[i]) for i in order}


def _masks(source: Source) -> tuple[Masks, np.ndarray]:
    """The masks of a sample, and for each class how many of them have a pixel of it."""
    class_of = np.array(translation(source), np.int16)
    values, classes = np.zeros(256, np.int64), np.zeros(source.num_classes, np.int64)
    sampled = 0
    for index in evenly(len(source), SAMPLE):
        try:
            own = np.bincount(decode_mask(source[index]["mask"]).ravel(), minlength=256)
        except (ValueError, OSError, KeyError):  # loading it raises an error, or skips it
            continue
        sampled += 1
        values += own
        present = np.unique(class_of[np.flatnonzero(own)])
        classes[present[(present >= 0) & (present != IGNORE)]] += 1
    return Masks(
        sampled=sampled, values={int(v): int(values[v]) for v in np.flatnonzero(values)}
    ), classes
