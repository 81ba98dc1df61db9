"""Which state dict of a checkpoint: training scripts keep it under many names, and often two.

A checkpoint is a tree of dicts and lists. A state dict in it is a dict of tensors by name; those of
an optimiser are none. Its name is the keys that lead to it: 'state_dict', 'ema.module', '0'.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cnn_jax.weights.errors import WeightsError
from cnn_jax.weights.pickle_records import Opaque, shown

# Names under which training scripts put the network, in the order tried.
NESTED = ("state_dict", "model_state_dict", "model", "model_state", "net", "network", "module")
# What is beside it: trees with tensors in them that are no weights.
_BESIDE = re.compile(
    r"optim|sched|scaler|^amp|loop|callback|hyper|config|args|rng|random|stat(s|istic)|meter|hist"
)
_AVERAGED = re.compile(r"(^|_)(ema|swa|averaged?|avg|shadow)(_|$)")
_OF_OPTIMISERS = {"exp_avg", "exp_avg_sq", "momentum_buffer", "square_avg", "step"}
_DEEPEST, _MOST = 8, 100_000  # levels, and containers looked at
_LISTED = 8


class Chosen(NamedTuple):
    """A state dict, and what to say about the choice."""

    tensors: dict[str, np.ndarray]
    notes: tuple[str, ...]


def is_averaged(name: str) -> bool:
    """Whether a name says that it is of a moving average of weights: 'model_ema', 'ema.module'."""
    return any(_AVERAGED.search(part) for part in name.lower().split("."))


def state_dict_of(path: Path, tree: Any, take: str = "") -> Chosen:
    """The state dict of a checkpoint.

    Args:
        path: the file, for messages.
        tree: its content, as `pth.read` gives it.
        take: name of the state dict; 'ema' or 'raw' for the moving average of the weights or the
            weights themselves; by default the average where there are both.

    Raises:
        WeightsError: there is none, or several and none that is known to be the network's.
    """
    found = _state_dicts(tree)
    if not found:
        raise WeightsError(f"{path}: {_what_it_is(tree)}")
    name = _chosen(path, [*found], take)
    tensors = {key: array for key, array in found[name].items() if isinstance(array, np.ndarray)}
    notes = []
    if (
        is_averaged(name)
        and (raw := [other for other in found if not is_averaged(other)])
        and not take
    ):
        notes.append(
            f"the averaged weights, {shown(name)}, are taken. The others are taken by adding :raw "
            f"or :{raw[0]} to the name of the file"
        )
    if other := [key for key in found[name] if key not in tensors]:
        notes.append(f"left out, since they are no tensors: {_some(other)}")
    for key in other:
        value = found[name][key]
        if isinstance(value, Opaque):
            raise WeightsError(
                f"{path}: {shown(key)} is {shown(value)}, not a tensor that can be read: quantised "
                "and sparse tensors are not supported. Save the dense floating-point weights"
            )
    return Chosen(tensors, tuple(notes))


def _state_dicts(tree: Any) -> dict[str, Mapping]:
    """The state dicts of a tree, by name; '' for the tree itself."""
    found: dict[str, Mapping] = {}
    seen: set[int] = set()

    def visit(node: Any, path: tuple[str, ...]) -> bool:
        """Whether there is one in this node."""
        if id(node) in seen or len(path) > _DEEPEST or len(seen) > _MOST:
            return False
        if isinstance(node, Mapping):
            seen.add(id(node))
            if _has_dotted_tensors(node):
                found[".".join(path)] = node
                return True
            inner = [
                visit(value, (*path, str(key)))
                for key, value in node.items()
                if isinstance(value, (Mapping, list, tuple)) and not _is_beside(key)
            ]
            if not any(inner) and _is_of_tensors(node):
                found[".".join(path)] = node
                return True
            return any(inner)
        if isinstance(node, (list, tuple)):
            seen.add(id(node))
            inner = [visit(value, (*path, str(i))) for i, value in enumerate(node)]
            return any(inner)
        return False

    visit(tree, ())
    return found


def _is_beside(key: Any) -> bool:
    return isinstance(key, str) and key not in NESTED and bool(_BESIDE.search(key.lower()))


def _has_dotted_tensors(node: Mapping) -> bool:
    return any(
        isinstance(key, str) and "." in key and isinstance(value, np.ndarray)
        for key, value in node.items()
    )


def _is_of_tensors(node: Mapping) -> bool:
    names = [key for key, value in node.items() if isinstance(value, np.ndarray)]
    return (
        bool(names)
        and all(isinstance(name, str) for name in names)
        and len(names) >= len(node) / 2
        and not _OF_OPTIMISERS & {*names}
    )


def _chosen(path: Path, names: list[str], take: str) -> str:
    averaged = [name for name in names if is_averaged(name)]
    raw = [name for name in names if name not in averaged]
    if take in names:
        return take
    if take in ("ema", "raw") or not take:
        among = raw if take == "raw" or not averaged else averaged
        if take == "ema" and not averaged:
            among = []
        if len(among) == 1:
            return among[0]
        for known in NESTED:
            for name in among:
                if name.split(".")[0] == known or (among is averaged and known in name):
                    return name
    else:
        among = [name for name in names if take in name.split(".")]
        if len(among) == 1:
            return among[0]
    has = f"it has {_some([name or 'one without a name' for name in names])}"
    if take:
        raise WeightsError(f"{path}: holds no weights {take!r}: {has}")
    raise WeightsError(
        f"{path}: holds several state dicts: {has}. Say which, by adding a colon and its name to "
        f"the name of the file: {path.name}:{among[0] if among else names[0]}"
    )


def _what_it_is(tree: Any) -> str:
    """Why there is no state dict in a tree."""
    if isinstance(tree, Opaque):
        return (
            f"not a state dict but a whole object, of {shown(tree)}, which has not been run. Save "
            "only the state dict of the network: torch.save(model.state_dict(), path)"
        )
    if isinstance(tree, np.ndarray):
        return "holds one tensor, not a state dict"
    if not isinstance(tree, Mapping):
        return f"holds a {type(tree).__name__}, not a state dict"
    if tree and not any(isinstance(key, str) for key in tree):
        return "not a state dict: its tensors have numbers for names"
    named = [
        f"{shown(key)} ({shown(value)})" if isinstance(value, Opaque) else shown(key)
        for key, value in list(tree.items())[:5]
    ]
    return (
        f"not a state dict: {', '.join(named) or 'it'} holds no tensor. A state dict may be under "
        f"{', '.join(NESTED)}"
    )


def _some(names: list[Any]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(str(name)[:60] for name in names[:_LISTED]) + more
