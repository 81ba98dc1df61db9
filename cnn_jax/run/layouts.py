"""The devices of a recipe, and how its step is spread over them."""

import jax

from cnn_jax.run.recipe import TrainingRecipe
from cnn_jax.train import layout, sharding


def layout_of(recipe: TrainingRecipe, devices: list[jax.Device]) -> layout.Layout:
    """The layout of `layout` and `mesh` over these devices.

    Raises:
        ValueError: the batch cannot be split evenly over it, or `mesh` cannot be used.
    """
    if recipe.mesh and recipe.layout != "jit":
        raise ValueError(
            f"mesh={recipe.mesh} needs layout=jit, and layout={recipe.layout} was given."
        )
    if recipe.mesh:
        where = sharding.mesh_layout(devices, sharding.parse_mesh(recipe.mesh, len(devices)))
    else:
        where = layout.make_layout(recipe.layout, devices)
    if recipe.batch_size % where.device_count:
        raise ValueError(
            f"batch_size={recipe.batch_size} cannot be split evenly over "
            f"{where.device_count} devices; choose a multiple of {where.device_count}."
        )
    each = recipe.batch_size // (where.device_count if where.axis_name else 1)
    if recipe.accumulate > 1 and each % recipe.accumulate:
        raise ValueError(
            f"accumulate={recipe.accumulate}: {each} examples cannot be split into "
            f"{recipe.accumulate} equal microbatches. Choose a divisor of {each}."
        )
    return where


def devices_of(count: int) -> list[jax.Device]:
    """The first `count` devices, equally many from each process; 0: all.

    Raises:
        ValueError: there are fewer, or they cannot be split evenly.
    """
    devices, processes = jax.devices(), jax.process_count()
    if not 0 <= count <= len(devices):
        raise ValueError(f"devices={count}: there are {len(devices)} devices here.")
    if count % processes:
        raise ValueError(
            f"devices={count} cannot be split evenly among {processes} processes; choose a "
            f"multiple of {processes}."
        )
    if not count:
        return devices
    own = [[d for d in devices if d.process_index == index] for index in range(processes)]
    return [device for group in own for device in group[: count // processes]]
