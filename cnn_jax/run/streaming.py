"""Predicts many images: decoded ahead in threads, and in batches on the device."""

import concurrent.futures
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from cnn_jax.data.examples import available_cpus
from cnn_jax.run.predictor import Predictor

BATCH = 16
# What can be wrong with one image of many: it is named, and the others are predicted.
FAULTS = (ValueError, OSError, MemoryError)


def stream(
    predictor: Predictor,
    images: Iterable[Any],
    *,
    batch_size: int = BATCH,
    threads: int | None = None,
    **options: Any,
) -> Iterator[tuple[Any, Any]]:
    """The prediction for each image, in order, as they become known.

    No more than three batches of prepared images are held at a time, however many there are.

    Args:
        predictor: see `cnn_jax.run.open`.
        images: see `Predictor.predict`.
        batch_size: images that the network is shown at a time; the last batch is filled up.
        threads: threads that read and prepare images; default: one for each core.
        options: see `predict_one`.

    Yields:
        (image, its prediction); in the place of the prediction of one that cannot be read stands
        the error.

    Raises:
        ValueError: batch_size or an option is out of range.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}: it must be at least 1.")
    predictor.check(**options)
    return _stream(predictor, images, predictor.most(batch_size, **options), threads, options)


def _stream(
    predictor: Predictor, images: Iterable[Any], size: int, threads: int | None, options: dict
) -> Iterator[tuple[Any, Any]]:
    def load(image: Any) -> Any:
        try:
            return predictor.load(image, **options)
        except FAULTS as error:
            return error

    left = iter(images)
    loading: deque[tuple[Any, concurrent.futures.Future]] = deque()
    running: deque[Callable[[], list[tuple[Any, Any]]]] = deque()
    count = threads or available_cpus()
    first = True
    with concurrent.futures.ThreadPoolExecutor(count, "cnn_jax.predict") as pool:
        try:
            while True:
                wanted = max(2 * size, count + 1) - len(loading)
                loading += [(image, pool.submit(load, image)) for image in islice(left, wanted)]
                if not loading:
                    break
                chosen = [loading.popleft() for _ in range(min(size, len(loading)))]
                if first and len(chosen) < size:
                    size = len(chosen)  # there are no more: no padding
                first = False
                running.append(_started(predictor, chosen, size, options))
                if len(running) > 1:
                    yield from running.popleft()()
            for finish in running:
                yield from finish()
        finally:
            for _, future in loading:
                future.cancel()


def _started(
    predictor: Predictor, chosen: list, size: int, options: dict
) -> Callable[[], list[tuple[Any, Any]]]:
    """Starts a batch on the device; the function waits for it."""
    images, loaded = [image for image, _ in chosen], [future.result() for _, future in chosen]
    good = [each for each in loaded if not isinstance(each, FAULTS)]
    answers = predictor.start(good, size, **options) if good else list

    def finish() -> list[tuple[Any, Any]]:
        made = iter(answers())
        return [
            (image, each if isinstance(each, FAULTS) else next(made))
            for image, each in zip(images, loaded, strict=True)
        ]

    return finish
