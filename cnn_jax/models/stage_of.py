"""Which stage of a network a parameter belongs to: the first one that depends on it."""

from typing import Any

import flax.linen as nn
import jax

from cnn_jax import jax_internals
from cnn_jax.models.registry import create


def stage_of_parameters(
    model: nn.Module, image: jax.ShapeDtypeStruct
) -> tuple[dict[str, int], list[str]]:
    """The stage of each parameter, found by tracing the network without running it.

    A network on a `backbone` is divided as its backbone is.

    Args:
        model: a network that returns its stages when it has no classes.
        image: shape and dtype of a batch.

    Returns:
        Path of a parameter -> number of its stage, from 0 for the shallowest; parameters behind the
        last stage, such as those of the head, are left out. And the names of the stages.

    Raises:
        ValueError: the network has no stages.
    """
    trunk, prefix = model.clone(num_classes=None), ""
    if (backbone := getattr(model, "backbone", None)) is not None:
        trunk, prefix = create(backbone, num_classes=None), "backbone/"
    shapes = jax.eval_shape(lambda x: trunk.init(jax.random.key(0), x, train=False), image)
    rest = {name: leaves for name, leaves in shapes.items() if name != "params"}

    def stages(params: Any, others: Any, x: Any) -> Any:
        return trunk.apply({"params": params, **others}, x, train=False)

    traced, outputs = jax.make_jaxpr(stages, return_shape=True)(shapes["params"], rest, image)
    if not isinstance(outputs, dict):
        raise ValueError(f"{type(model).__name__} has no stages.")
    names = list(outputs)
    leaves = jax.tree_util.tree_flatten_with_path(shapes["params"])[0]  # in the traced order
    paths = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
    found: dict[str, int] = {}
    for number, name in enumerate(names):
        used = jax_internals.inputs_used(traced, [other == name for other in names])
        for path, needed in zip(paths, used, strict=False):
            if needed:
                found.setdefault(prefix + path, number)
    return found, names
