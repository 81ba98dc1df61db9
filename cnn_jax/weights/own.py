"""Weights by our own names, 'params/conv1/kernel', for networks that no publisher has names for."""

from collections.abc import Collection, Mapping
from typing import Any

import flax.core
import flax.traverse_util
import jax
import numpy as np

from cnn_jax.weights.errors import WeightsError

OWN = "cnn_jax"  # in the place of a publisher, in the header of a file

_LISTED = 5  # names in an error message, of each kind


def export_own(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Arrays by our names."""
    flat = flax.traverse_util.flatten_dict(flax.core.unfreeze(dict(variables)), sep="/")
    return {path: np.asarray(leaf) for path, leaf in jax.device_get(flat).items()}


def import_own(
    tensors: Mapping[str, np.ndarray],
    template: Mapping[str, Any],
    *,
    init: Collection[str] = (),
    drop: Collection[str] = (),
) -> dict[str, Any]:
    """The inverse of `export_own`: variables of the template's structure.

    Args:
        tensors: arrays by our names.
        template: variables, or their shapes.
        init: names that keep the template's values.
        drop: names in the file that may be left over.

    Raises:
        WeightsError: a name is missing or left over, has another shape, or holds no numbers.
    """
    leaves = flax.traverse_util.flatten_dict(flax.core.unfreeze(dict(template)), sep="/")
    wanted = {path: leaf for path, leaf in leaves.items() if path not in init}
    problems = {
        "missing": [path for path in wanted if path not in tensors],
        "left over": [name for name in tensors if name not in leaves and name not in drop],
        "of another shape": [
            f"{path} ({list(tensors[path].shape)}, wanted {list(leaf.shape)})"
            for path, leaf in wanted.items()
            if path in tensors and tensors[path].shape != tuple(leaf.shape)
        ],
        "not of finite numbers": [
            path
            for path in wanted
            if path in tensors and not np.isfinite(tensors[path].astype(np.float64)).all()
        ],
    }
    if any(problems.values()):
        said = [
            f"{len(names)} {kind}: {', '.join(names[:_LISTED])}{', ...' * (len(names) > _LISTED)}"
            for kind, names in problems.items()
            if names
        ]
        raise WeightsError(f"the weights do not fit the model: {'; '.join(said)}")
    filled = {
        path: tensors[path].astype(leaf.dtype) if path in wanted else leaf
        for path, leaf in leaves.items()
    }
    return flax.traverse_util.unflatten_dict(filled, sep="/")
