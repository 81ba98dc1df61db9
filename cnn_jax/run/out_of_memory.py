"""Advice when a device, or the host, has too little memory for a training step."""

import contextlib
import re
from collections.abc import Iterator

import jax

from cnn_jax.run.recipe import TrainingRecipe


class OutOfMemoryError(MemoryError):
    """The step does not fit; the message says its size, and which settings make it smaller."""


@contextlib.contextmanager
def explained(recipe: TrainingRecipe, devices: int) -> Iterator[None]:
    """Within the block, running out of memory raises OutOfMemoryError.

    XLA reports it as a JaxRuntimeError RESOURCE_EXHAUSTED, on any device; numpy as a MemoryError.

    Args:
        recipe: recipe of the run.
        devices: number of devices that share a batch.
    """
    try:
        yield
    except (jax.errors.JaxRuntimeError, MemoryError) as error:
        if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
            raise OutOfMemoryError(advice(recipe, devices, str(error))) from error
        raise


def advice(recipe: TrainingRecipe, devices: int, report: str) -> str:
    """One line: the batch, the memory that was asked for, and what helps, the mildest first."""
    each = recipe.batch_size // devices // recipe.accumulate
    batch = f"batch_size={recipe.batch_size}"
    if each != recipe.batch_size:
        cut = f" in accumulate={recipe.accumulate} parts" if recipe.accumulate > 1 else ""
        batch += f" ({each} at a time on each of {devices} device(s){cut})"
    wanted = re.search(r"allocat\w*\s+(\d+) bytes", report)
    size = f", for {int(wanted[1]) / 2**30:,.1f} GiB at once" if wanted else ""
    ways = []
    if recipe.eval_batch_size > recipe.batch_size:
        ways.append(f"less than eval_batch_size={recipe.eval_batch_size}")
    if each > 1:
        ways.append(
            f"accumulate={2 * recipe.accumulate} (the same gradient from smaller parts; batch "
            "norm sees a part)"
        )
    if recipe.dtype != "bfloat16":
        ways.append("dtype=bfloat16 (half the activations)")
    if not recipe.remat:
        ways.append("remat=True (computes activations twice instead of keeping them)")
    if recipe.batch_size > devices:
        ways.append("a lower `batch_size`")
    ways.append("more devices, or a smaller `model` or image")
    return f"Out of memory with {batch}{size}. What helps: {'; '.join(ways)}."
