"""Finds a network's tensors among those of a file, under whatever prefix they are."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.typing import PyTree
from cnn_jax.weights.choosing import is_averaged
from cnn_jax.weights.errors import WeightsError
from cnn_jax.weights.torch import Rules, coverage, torch_shapes

_PREFIXES, _SAMPLES = 16, 8  # tried at most; names by which they are found
Tensors = Mapping[str, np.ndarray]


class Found(NamedTuple):
    """The tensors of the network, by its publisher's names.

    Attributes:
        tensors: arrays by name.
        publisher: the one whose names they are.
        notes: what to know: what was left out, what was converted.
    """

    tensors: Tensors
    publisher: str
    notes: tuple[str, ...]


def network_in(
    tensors: Tensors, template: PyTree, rules: Mapping[str, Rules], *, spec: str
) -> Found:
    """The tensors of a network in a file.

    The publisher is the one whose rules place most names: as they are, or without what is around
    the network ('student.', beside the tensors of a loss), or without DataParallel's 'module'
    within ('features.module.0.weight').

    Args:
        tensors: of the file.
        template: variables of the network, or their shapes.
        rules: of each publisher.
        spec: the file, for messages.

    Raises:
        WeightsError: several networks in the file fit.
    """
    publisher = max(rules, key=lambda each: coverage(tensors, template, rules[each]))
    direct = coverage(tensors, template, rules[publisher])
    found: dict[tuple[str, str], tuple[float, Tensors]] = {}
    if direct < 1:
        for variant in (tensors, _without_part(tensors, "module")):
            for each in rules:
                for prefix in _prefixes(variant, {*torch_shapes(template, rules[each])}):
                    under = _under(variant, prefix)
                    share = coverage(under, template, rules[each])
                    if share > found.get((each, prefix), (direct, under))[0]:
                        found[each, prefix] = share, under
    notes: list[str] = []
    if found:
        top = max(share for share, _ in found.values())
        prefixes = {prefix for (_, prefix), (share, _) in found.items() if share == top}
        prefix = _only({p for p in prefixes if is_averaged(p)} or prefixes, spec)
        publisher = next(each for each, p in found if p == prefix and found[each, p][0] == top)
        left = len(tensors) - len(found[publisher, prefix][1])
        tensors = found[publisher, prefix][1]
        if left:
            others = f"{left} other tensors are" if left > 1 else "one other tensor is"
            notes.append(f"the weights under {prefix.rstrip('.')!r} are taken, {others} left out")
    return Found(tensors, publisher, (*notes, *_conversions(tensors, template)))


def _only(prefixes: Collection[str], spec: str) -> str:
    if len(prefixes) == 1:
        return next(iter(prefixes))
    names = [prefix.rstrip(".") or "those without a prefix" for prefix in sorted(prefixes)]
    raise WeightsError(
        f"{spec} holds several networks that fit: {', '.join(names[:8])}. Say which, by adding a "
        f"colon and its name: {spec}:{names[-1]}"
    )


def _under(tensors: Tensors, prefix: str) -> Tensors:
    return {
        name.removeprefix(prefix): array
        for name, array in tensors.items()
        if name.startswith(prefix)
    }


def _without_part(tensors: Tensors, part: str) -> Tensors:
    """The tensors without a part of their names, or as they are if two names would be one."""
    shorter = {".".join(p for p in name.split(".") if p != part): a for name, a in tensors.items()}
    return shorter if len(shorter) == len(tensors) else tensors


def _prefixes(tensors: Tensors, wanted: Collection[str]) -> list[str]:
    """What may be before the names of the network: what is before some of them."""
    names = sorted(wanted)
    few = [f".{name}" for name in names[:: max(1, len(names) // _SAMPLES)]]
    found = Counter(
        name[: len(name) - len(end) + 1] for name in tensors for end in few if name.endswith(end)
    )
    return ["", *(prefix for prefix, _ in found.most_common(_PREFIXES))]


def _conversions(tensors: Tensors, template: PyTree) -> list[str]:
    """What to say about weights that are stored in another precision than the network's."""
    own = {str(leaf.dtype) for leaf in jax.tree.leaves(dict(template))}
    others = Counter(
        str(array.dtype)
        for array in tensors.values()
        if jnp.issubdtype(array.dtype, jnp.floating) and str(array.dtype) not in own
    )
    return [
        f"{count} of its {len(tensors)} tensors are of {kind}, converted to {'/'.join(sorted(own))}"
        for kind, count in others.items()
    ]
