"""Lists the networks: parameters, multiply-adds, input, paper.

    python -m experiments.models
    python -m experiments.models --pattern='resnet*'
    python -m experiments.models --task=segmentation
    python -m experiments.models --plugin=my_module --pattern='my_*'
    python -m experiments.models --papers > cnn_jax/models/README.md

Parameters and multiply-adds are the published ones, if any; tests check the networks against them.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import rich.table
from absl import flags

from cnn_jax import models
from cnn_jax.analysis import flops
from cnn_jax.models.registry import TASKS
from cnn_jax.printable import PlainConsole
from experiments import entry
from experiments.papers import papers_page

PATTERN = flags.DEFINE_string("pattern", "*", "Shell pattern of the names to list: 'resnet*'.")
TASK = flags.DEFINE_enum(
    "task", "classification", list(TASKS), "What the networks to list are for."
)
PAPERS = flags.DEFINE_bool("papers", False, "Print the page of papers and files instead.")


def parameters(model: nn.Module, input_shape: tuple[int, ...]) -> int:
    """The number of parameters of a network, for inputs of shape (*space, C)."""
    image = jax.ShapeDtypeStruct((1, *input_shape), jnp.float32)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), image)
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


def counted(known: models.Description) -> tuple[int, float]:
    """Parameters and 10^9 multiply-adds of a network: the published ones, or else counted.

    Raises:
        ValueError: it cannot be called with its input_shape.
    """
    model = models.create(known.name, num_classes=known.num_classes)
    try:
        params = known.params or parameters(model, known.input_shape)
        gmacs = known.gmacs or flops.model_multiply_adds(model, known.input_shape) / 1e9
    except Exception as error:
        raise ValueError(
            f"{known.name} ({models.MODELS.origin(known.name)}) fails for an input of the "
            f"input_shape it is registered with, {known.input_shape}: "
            f"{str(error).strip().partition(chr(10))[0]}"
        ) from error
    return params, gmacs


def main() -> int:
    if PAPERS.value:
        print(papers_page(), end="")
        return 0
    names = models.list_models(PATTERN.value, task=TASK.value)
    if not names:
        near = models.list_models(f"*{PATTERN.value}*", task=TASK.value)
        hint = f"did you mean {', '.join(near[:5])}?" if near else "leave it out to list all."
        raise ValueError(f"--pattern={PATTERN.value!r} matches no network for {TASK.value}; {hint}")
    table = rich.table.Table()
    for heading, justify in [
        ("name", "left"),
        ("task", "left"),
        ("parameters", "right"),
        ("GMACs", "right"),
        ("input", "right"),
        ("paper", "left"),
        ("from", "left"),
    ]:
        table.add_column(heading, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for name in names:
        known = models.describe(name)
        params, gmacs = known.params, known.gmacs  # published, and checked by tests
        if params is None or gmacs is None:
            params, gmacs = counted(known)
        table.add_row(
            name,
            known.task,
            f"{params:,}",
            f"{gmacs:.3g}",
            "x".join(str(size) for size in known.input_shape),
            known.paper,
            models.MODELS.origin(name),
        )
    # as wide as it needs to be: a terminal wraps, and a pipe does not care
    console = PlainConsole(width=max(entry.CONSOLE.width, 160))
    console.print(table)
    return 0


if __name__ == "__main__":
    entry.launch(main)
