"""Lists the networks: parameters, multiply-adds, input, paper.

    python -m experiments.models
    python -m experiments.models --pattern='resnet*'
    python -m experiments.models --task=detection --most_gmacs=5
    python -m experiments.models --task=all --pattern='*mobilenet*,*lite*' --most_parameters=5e6
    python -m experiments.models --plugin=my_module --pattern='my_*'
    python -m experiments.models --papers > cnn_jax/models/README.md

Parameters and multiply-adds are the published ones, or else those of `cnn_jax.models.counted`;
tests check the networks against them. A plug-in's networks without either are counted on the spot.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import rich.table
from absl import flags

from cnn_jax import models
from cnn_jax.models.counted import COUNTED
from cnn_jax.models.registry import TASKS
from cnn_jax.printable import PlainConsole
from experiments import entry
from experiments.papers import papers_page

PATTERN = flags.DEFINE_list(
    "pattern", "*", "Shell patterns of the names to list: 'resnet*', or 'resnet*,wrn*'."
)
TASK = flags.DEFINE_enum(
    "task", "classification", [*TASKS, "all"], "What the networks to list are for."
)
MOST_PARAMETERS = flags.DEFINE_float(
    "most_parameters", math.inf, "Largest number of parameters of a network to list: 5e6."
)
MOST_GMACS = flags.DEFINE_float(
    "most_gmacs", math.inf, "Largest number of 10^9 multiply-adds of a network to list."
)
COUNT = flags.DEFINE_bool(
    "count", False, "Count the networks without published figures, and print them as Python."
)
PAPERS = flags.DEFINE_bool("papers", False, "Print the page of papers and files instead.")


def parameters(model: nn.Module, input_shape: tuple[int, ...]) -> int:
    """The number of parameters of a network, for inputs of shape (*space, C)."""
    image = jax.ShapeDtypeStruct((1, *input_shape), jnp.float32)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), image)
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


def counted(known: models.Description) -> tuple[int, int]:
    """Parameters and multiply-adds of a network, counted.

    Raises:
        ValueError: it cannot be called with its input_shape.
    """
    from cnn_jax.analysis import flops  # late: most calls count nothing

    model = models.create(known.name, num_classes=known.num_classes)
    try:
        return (
            parameters(model, known.input_shape),
            flops.model_multiply_adds(model, known.input_shape),
        )
    except Exception as error:
        raise ValueError(
            f"{known.name} ({models.MODELS.origin(known.name)}) fails for an input of the "
            f"input_shape it is registered with, {known.input_shape}: "
            f"{str(error).strip().partition(chr(10))[0]}"
        ) from error


def figures_of(known: models.Description) -> tuple[int, float]:
    """Parameters and 10^9 multiply-adds: the published ones, or else counted.

    Raises:
        ValueError: see `counted`.
    """
    params, gmacs = known.params, known.gmacs
    if params is None or gmacs is None:
        ours = models.MODELS.origin(known.name).startswith("cnn_jax.")
        own = COUNTED.get(known.name) if ours else None
        own_params, macs = own or counted(known)
        params, gmacs = params or own_params, gmacs or macs / 1e9
    return params, gmacs


def chosen() -> dict[str, tuple[int, float]]:
    """The networks that the flags ask for, with `figures_of` each.

    Raises:
        ValueError: there is none.
    """
    tasks = TASKS if TASK.value == "all" else (TASK.value,)

    def named(patterns: list[str]) -> list[str]:
        found = [n for p in patterns for task in tasks for n in models.list_models(p, task=task)]
        return list(dict.fromkeys(found))

    names, of = named(PATTERN.value), "any task" if TASK.value == "all" else TASK.value
    if not names:
        near = named([f"*{pattern}*" for pattern in PATTERN.value])
        hint = f"did you mean {', '.join(near[:5])}?" if near else "leave it out to list all."
        pattern = ",".join(PATTERN.value)
        raise ValueError(f"--pattern={pattern!r} matches no network for {of}; {hint}")
    found = {name: figures_of(models.describe(name)) for name in names}
    small = {
        name: (params, gmacs)
        for name, (params, gmacs) in found.items()
        if params <= MOST_PARAMETERS.value and gmacs <= MOST_GMACS.value
    }
    if not small:
        params, gmacs = map(min, zip(*found.values(), strict=True))
        raise ValueError(
            f"None of these {len(found)} networks for {of} is so small: the fewest parameters are "
            f"{params:,}, the fewest GMACs {gmacs:.3g}."
        )
    return small


def main() -> int:
    if PAPERS.value:
        print(papers_page(), end="")
        return 0
    if COUNT.value:
        for name in chosen():
            known = models.describe(name)
            if known.params is None or known.gmacs is None:
                params, macs = counted(known)
                print(f'    "{name}": ({params:_}, {macs:_}),', flush=True)
        return 0
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
    for name, (params, gmacs) in chosen().items():
        known = models.describe(name)
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
