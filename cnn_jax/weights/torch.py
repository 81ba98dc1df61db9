"""Converts between PyTorch's tensors, by name, and Flax variables, with a table of pairs.

A family's file lists how a publisher (torchvision, timm, ...) names its modules:

    TORCHVISION_RULES = (
        ("layer{i}.{j}.conv{k}", "layer{i}_{j}/conv{k}"),
        ("layer{i}.{j}.downsample.0", "layer{i}_{j}/shortcut_conv"),
        ("fc", "head"),
    )

`{i}` stands for a number, the same on both sides. The first pair that matches counts. A module's
tensors follow from its type, so no rule names them:

    PyTorch                         Flax
    weight  [O, I, *k]  convolution params      kernel [*k, I, O]  (I counts one group's inputs)
    weight  [O, I]      dense       params      kernel [I, O]
    weight  [C]         norm        params      scale  [C]
    bias    [C]                     params      bias   [C]
    running_mean, running_var [C]   batch_stats mean, var [C]
    num_batches_tracked             -

A rule may also name one parameter in full ("features.{i}.{j}.layer_scale"). If the two sides order
the axes of a tensor differently, the pair has a third entry, a `Layout`.
"""

import functools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.weights.errors import WeightsError
from cnn_jax.weights.files import COUNTERS
from cnn_jax.weights.layouts import Layout, default

# (PyTorch's module, Flax's module) or (PyTorch's module, Flax's module, layout of `weight`).
Rules = Sequence[tuple[str, str] | tuple[str, str, Layout]]
StateDict = Mapping[str, np.ndarray]
Variables = Mapping[str, Any]  # {'params': ..., 'batch_stats': ...}

_LEAVES = {  # PyTorch's tensor -> where it may be in Flax
    "weight": (("params", "kernel"), ("params", "scale")),
    "bias": (("params", "bias"),),
    "running_mean": (("batch_stats", "mean"),),
    "running_var": (("batch_stats", "var"),),
}

_LISTED = 12  # names in an error message, of each kind
_LONGEST = 300  # characters of each


class _Place(NamedTuple):
    """The place of a leaf of the variables in a state dict."""

    name: str
    layout: Layout


def import_torch(
    state_dict: StateDict,
    template: Variables,
    rules: Rules,
    *,
    init: Collection[str] = (),
    drop: Collection[str] = (),
) -> dict[str, Any]:
    """Flax variables with the values of a PyTorch state dict.

    Args:
        state_dict: arrays by PyTorch's names.
        template: result of `model.init`, or its shapes; sets the structure and dtypes.
        rules: the publisher's names, see the head of this file.
        init: Flax leaves ('params/head/kernel') that keep the template's values, whatever the
            file has: the head, for other classes.
        drop: Flax leaves that the file may hold although the model lacks them: the head, if the
            model is a backbone.

    Returns:
        {'params': ..., 'batch_stats': ...} of numpy arrays.

    Raises:
        WeightsError: names match no rule, are missing from or unknown to the model, or have another
            shape; or tensors hold integers, booleans, NaN or infinity instead of weights. One
            message reports all.
    """
    leaves = _flatten(template)
    places = _places(leaves, rules)
    problems: dict[str, list[str]] = {}

    def report(kind: str, line: str) -> None:
        problems.setdefault(kind, []).append(line)

    values: dict[str, np.ndarray] = {}
    wanted = set()
    for path, leaf in leaves.items():
        place = places.get(path)
        if place is None:
            report("leaves of the model that no rule names", path)
            continue
        wanted.add(place.name)
        if path in init:
            if isinstance(leaf, jax.ShapeDtypeStruct):
                raise WeightsError(f"{path} must keep its value, but the template has only shapes")
            values[path] = np.asarray(leaf)
        elif place.name not in state_dict:
            report("missing from the file", f"{place.name} (for {path} {_size(leaf.shape)})")
        else:
            array = place.layout.to_flax(np.asarray(state_dict[place.name]))
            if array is None or array.shape != leaf.shape:
                shape = _size(state_dict[place.name].shape)
                wanted_shape = tuple(place.layout.torch_shape(leaf.shape))
                wants = f"{path} wants {_size(wanted_shape)}"
                if np.shape(state_dict[place.name]) == wanted_shape[::-1]:
                    wants += ": it is transposed"
                report("of another shape", f"{place.name} is {shape}, {wants}")
            elif wrong := _not_numbers(path, array, leaf.dtype):
                report(wrong, f"{place.name} (for {path})")
            else:
                values[path] = np.asarray(array, leaf.dtype)
    for name, array in state_dict.items():
        if name in wanted or name.rpartition(".")[2] in COUNTERS:
            continue
        targets = list(_flax_paths(name, rules))
        if not targets:
            report("in the file, and no rule matches", f"{name} {_size(np.shape(array))}")
        elif not any(path in drop for path in targets):
            report("in the file, and not in the model", f"{name} {_size(np.shape(array))}")
    if problems:
        raise WeightsError(_message(problems, len(wanted & set(state_dict)), len(leaves)))
    return flax.traverse_util.unflatten_dict(values, sep="/")


def _not_numbers(path: str, array: np.ndarray, dtype: Any) -> str:
    """What is wrong with the values of a weight of the right shape; '' for nothing."""
    if not jnp.issubdtype(dtype, jnp.floating):
        return ""
    if not jnp.issubdtype(array.dtype, jnp.floating):
        return f"of {array.dtype}, perhaps quantised, instead of floating-point numbers"
    if not np.isfinite(array).all():
        return "with values that are NaN or infinite"
    # what fits float64 may not fit
    if array.dtype.itemsize > np.dtype(dtype).itemsize and np.abs(array).max(initial=0) > float(
        jnp.finfo(dtype).max
    ):
        return f"with values too large for {np.dtype(dtype).name}"
    variance = path.startswith("batch_stats/") and path.endswith("/var")
    return "with variances below 0" if variance and (array < 0).any() else ""


def export_torch(variables: Variables, rules: Rules) -> dict[str, np.ndarray]:
    """The inverse of `import_torch`: C-contiguous arrays by PyTorch's names.

    PyTorch's `load_state_dict(strict=True)` takes the result: it fills in `num_batches_tracked`.

    Raises:
        WeightsError: no rule names some leaves; the message lists them.
    """
    leaves = _flatten(variables)
    places = _places(leaves, rules)
    if unnamed := [path for path in leaves if path not in places]:
        raise WeightsError(_message({"leaves of the model that no rule names": unnamed}, 0, 0))
    return {
        places[path].name: np.ascontiguousarray(places[path].layout.to_torch(np.asarray(leaf)))
        for path, leaf in leaves.items()
    }


def check_rules(model: str, rules: Rules) -> None:
    """Raises ValueError if a rule is not a pair of templates with the same `{fields}`."""
    for torch_side, flax_side, *_ in rules:
        fields = [sorted(set(re.findall(r"\{(\w+)\}", side))) for side in (torch_side, flax_side)]
        if fields[0] != fields[1] or set("\\^$*()[]") & set(torch_side + flax_side):
            raise ValueError(
                f"{model}: the rule {torch_side!r}, {flax_side!r} is not a pair of templates like "
                "('layer{i}.{j}.conv{k}', 'layer{i}_{j}/conv{k}'), each with the same fields."
            )


def torch_names(template: Variables, rules: Rules) -> dict[str, str]:
    """The PyTorch name of every leaf: 'params/head/kernel' -> 'fc.weight'."""
    return {path: place.name for path, place in _places(_flatten(template), rules).items()}


def torch_shapes(template: Variables, rules: Rules) -> dict[str, tuple[int, ...]]:
    """The PyTorch name and shape of every leaf that the rules name: what a file must hold."""
    leaves = _flatten(template)
    places = _places(leaves, rules)
    return {p.name: tuple(p.layout.torch_shape(leaves[path].shape)) for path, p in places.items()}


def coverage(state_dict: StateDict, template: Variables, rules: Rules) -> float:
    """The fraction of the file's names that these rules place: reveals the publisher."""
    wanted = {place.name for place in _places(_flatten(template), rules).values()}
    return len(wanted & set(state_dict)) / max(len(wanted), 1)


def _flatten(variables: Variables) -> dict[str, Any]:
    collections = {k: variables[k] for k in ("params", "batch_stats") if k in variables}
    return flax.traverse_util.flatten_dict(flax.core.unfreeze(collections), sep="/")


def _places(leaves: Mapping[str, Any], rules: Rules) -> dict[str, _Place]:
    """The place of each leaf. Leaves that no rule names are absent.

    Raises:
        WeightsError: two leaves would be stored under one name: the rules are wrong.
    """
    places: dict[str, _Place] = {}
    owner: dict[str, str] = {}
    for path, leaf in leaves.items():
        place = _place(path, len(leaf.shape), rules)
        if place is None:
            continue
        if place.name in owner:
            raise WeightsError(f"{owner[place.name]} and {path} are both named {place.name}")
        owner[place.name] = path
        places[path] = place
    return places


def _place(path: str, rank: int, rules: Rules) -> _Place | None:
    collection, _, inner = path.partition("/")
    module, _, leaf = inner.rpartition("/")
    for torch_leaf, homes in _LEAVES.items():
        if (collection, leaf) in homes:
            for torch_side, flax_side, *layout in rules:
                name = _translate(flax_side, torch_side, module)
                if name is not None:
                    is_weight = torch_leaf == "weight" and leaf == "kernel"
                    chosen = layout[0] if layout and is_weight else default(rank, leaf)
                    return _Place(f"{name}.{torch_leaf}", chosen)
    for torch_side, flax_side, *layout in rules:  # a rule for this one parameter
        name = _translate(flax_side, torch_side, inner)
        if name is not None and collection == "params":
            return _Place(name, layout[0] if layout else default(rank, leaf))
    return None


def _flax_paths(name: str, rules: Rules) -> Iterator[str]:
    """The leaves that a tensor of the file may fill, by the first rule that matches its name."""
    module, _, leaf = name.rpartition(".")
    for torch_side, flax_side, *_ in rules:
        if leaf in _LEAVES and (path := _translate(torch_side, flax_side, module)) is not None:
            yield from (f"{collection}/{path}/{kind}" for collection, kind in _LEAVES[leaf])
            return
        if (path := _translate(torch_side, flax_side, name)) is not None:
            yield f"params/{path}"
            return


@functools.lru_cache(maxsize=4096)
def _pattern(template: str) -> re.Pattern[str]:
    """'layer{i}.{j}' -> a pattern in which i and j are numbers; a repeated field is one number."""
    parts, seen = [], set()
    for literal, field in re.findall(r"([^{}]*)(?:\{(\w+)\})?", template):
        parts.append(re.escape(literal))
        if field:
            parts.append(f"(?P={field})" if field in seen else rf"(?P<{field}>\d+)")
            seen.add(field)
    return re.compile("".join(parts))


def _translate(source: str, target: str, text: str) -> str | None:
    match = _pattern(source).fullmatch(text)
    return None if match is None else target.format(**match.groupdict())


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _message(problems: Mapping[str, Sequence[str]], found: int, total: int) -> str:
    lines = [f"the weights do not fit the model ({found} of its {total} tensors are in the file):"]
    for kind, names in problems.items():
        lines.append(f"  {len(names)} {kind}:")
        lines.extend(f"    {name[:_LONGEST]}" for name in names[:_LISTED])
        if len(names) > _LISTED:
            lines.append(f"    ... and {len(names) - _LISTED} more")
    return "\n".join(lines)
