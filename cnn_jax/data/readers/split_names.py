"""Splits by their usual names: train, val and test, and what else they are called."""

from collections.abc import Sequence
from typing import TypeVar

from cnn_jax.data import split as split_lib

T = TypeVar("T")

TEST_SHARE = 0.2  # fraction of every class, if the set has no splits
_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


def canonical(word: str) -> str | None:
    """'train', 'val' or 'test' for a word that means it, else None: 'Valid' is 'val'."""
    return _NAMES.get(word.strip().lower())


def select(splits: dict[str, list[T]], expression: str, *, dataset: str) -> list[T]:
    """`split.select` that also knows the other names: 'valid' is 'val'."""
    terms = [term.name for term in split_lib.parse(expression, dataset=dataset)]
    others = {name: splits[_NAMES[name]] for name in terms if _NAMES.get(name) in splits}
    return split_lib.select({**splits, **others}, expression, dataset=dataset)


def stratified(examples: Sequence[tuple[T, int]]) -> dict[str, list[tuple[T, int]]]:
    """'all', and 'train' and 'test' with `TEST_SHARE` of every label, in the order of `examples`.

    The examples come in an order that does not depend on the machine; so the division does not.
    """
    sizes: dict[int, int] = {}
    for _, label in examples:
        sizes[label] = sizes.get(label, 0) + 1
    seen = dict.fromkeys(sizes, 0)
    divided: dict[str, list[tuple[T, int]]] = {"all": list(examples), "train": [], "test": []}
    for example in examples:
        label = example[1]
        divided["test" if seen[label] < round(TEST_SHARE * sizes[label]) else "train"] += [example]
        seen[label] += 1
    return divided
