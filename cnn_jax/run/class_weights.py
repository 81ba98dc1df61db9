"""Weights of the classes in the loss: none, by their frequency, or as they are given."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

HELP = (
    "Weights of the classes in the loss of the training: none; balanced, in inverse proportion to "
    "their frequency, 1 on average over the examples; or a number for each class, '1,2.5,1'"
)


def to_text(given: str | Iterable[float], *, words: Sequence[str] = ()) -> str:
    """The text of weights: a word, or numbers separated by commas.

    Args:
        given: such a text, or the numbers.
        words: the words allowed besides 'none' and 'balanced'.

    Raises:
        ValueError: it is neither.
    """
    known = ("none", "balanced", *words)
    if isinstance(given, str) and given.strip() in known:
        return given.strip()
    parts = given.split(",") if isinstance(given, str) else given
    try:
        numbers = [float(part) for part in parts]
    except (TypeError, ValueError):
        numbers = []
    if not numbers or not all(math.isfinite(n) and n >= 0 for n in numbers) or not any(numbers):
        raise ValueError(
            f"class_weights={given!r}: wanted {', '.join(known)}, or a number for each class, at "
            "least 0 and not all of them: '1,2.5,1'."
        )
    return ",".join(f"{number:.12g}" for number in numbers)


def weights_of(
    text: str, class_names: Sequence[str], ways: Mapping[str, Callable[[], np.ndarray]]
) -> np.ndarray | None:
    """The weights float64 [K]; None for none.

    Args:
        text: see `to_text`.
        class_names: K names.
        ways: a word -> the weights, which may take time to compute.

    Raises:
        ValueError: another number of weights than of classes.
    """
    if text == "none":
        return None
    if text in ways:
        return ways[text]()
    numbers = np.array([float(part) for part in text.split(",")])
    if len(numbers) != len(class_names):
        some = ", ".join(class_names[:4]) + (", ..." if len(class_names) > 4 else "")
        raise ValueError(
            f"class_weights={text}: {len(numbers)} numbers for {len(class_names)} classes, {some}: "
            "give one for each, in this order."
        )
    return numbers


def balanced(counts: np.ndarray) -> np.ndarray:
    """n / (K n_c) for n_c of n examples of each of the K classes that occur; 0 for the others.

    Their mean over the examples is 1. (King and Zeng 2001, doi:10.1093/oxfordjournals.pan.a004868;
    scikit-learn calls them 'balanced' too.)
    """
    there = counts > 0
    total = counts.sum() / max(there.sum(), 1)
    return np.divide(total, counts, out=np.zeros(len(counts)), where=there)
