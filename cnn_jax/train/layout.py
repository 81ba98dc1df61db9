"""Where the step runs: the same body compiled by `jax.jit` or by `jax.pmap`.

`jit` shards the global batch over all devices and lets XLA place the communication; a mean over the
batch is then a mean over the global batch without another word. `pmap` runs one replica of the body
on each device, which says itself where to communicate. A checkpoint is the same for both.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cnn_jax.typing import Batch, HostBatch, PyTree

LAYOUTS = ("jit", "pmap")


class Layout(NamedTuple):
    """How to compile the steps and where to put their arguments.

    Attributes:
        axis_name: to build the steps with; None where the body sees the global batch.
        device_count: every batch must be divisible by it.
        compile_train: train step -> compiled train step; the state it is given is used up.
        compile_eval: eval step -> compiled eval step.
        replicate: state on the host or on one device -> state on every device.
        shard: batch on the host -> batch spread over the devices.
        fetch: state on every device -> a copy of it as ordinary arrays, the same for each layout.
    """

    axis_name: str | None
    device_count: int
    compile_train: Callable
    compile_eval: Callable
    replicate: Callable[[PyTree], PyTree]
    shard: Callable[[HostBatch], Batch]
    fetch: Callable[[PyTree], PyTree]


def make_layout(name: str, devices: Sequence[jax.Device] | None = None) -> Layout:
    """The layout called `name`, 'jit' or 'pmap', over `devices` (default: all there are).

    Raises:
        ValueError: no layout is called so.
    """
    devices = list(jax.devices() if devices is None else devices)
    if name == "jit":
        return jit_layout(devices)
    if name == "pmap":
        return pmap_layout(devices)
    raise ValueError(f"There is no layout {name!r}; choose one of {', '.join(LAYOUTS)}.")


def jit_layout(devices: Sequence[jax.Device]) -> Layout:
    """One program over a mesh of all devices; arrays are global."""
    mesh = Mesh(np.asarray(devices), ("data",))
    everywhere = NamedSharding(mesh, PartitionSpec())
    by_example = NamedSharding(mesh, PartitionSpec("data"))

    def compile_train(step):
        return jax.jit(
            step,
            in_shardings=(everywhere, by_example),
            out_shardings=everywhere,
            donate_argnums=0,
        )

    def compile_eval(step):
        return jax.jit(step, in_shardings=(everywhere, by_example), out_shardings=everywhere)

    # through jit, not device_put: it copies, and it works with several processes
    place = jax.jit(lambda tree: jax.tree.map(jnp.copy, tree), out_shardings=everywhere)

    def shard(batch: HostBatch) -> Batch:
        _check_divisible(batch, len(devices))
        return jax.device_put(dict(batch), by_example)

    return Layout(
        axis_name=None,
        device_count=len(devices),
        compile_train=compile_train,
        compile_eval=compile_eval,
        replicate=lambda state: place(jax.device_get(state)),
        shard=shard,
        fetch=place,
    )


def pmap_layout(devices: Sequence[jax.Device]) -> Layout:
    """One replica of the program for each device; arrays have a leading axis of devices."""
    axis_name = "data"
    count = len(devices)
    mesh = Mesh(np.asarray(devices), (axis_name,))
    by_device = NamedSharding(mesh, PartitionSpec(axis_name))

    def compile_train(step):
        mapped = jax.pmap(step, axis_name, devices=devices, donate_argnums=0)

        def train_step(state, batch):
            state, metrics = mapped(state, batch)
            return state, _first(metrics)

        return train_step

    def compile_eval(step):
        mapped = jax.pmap(step, axis_name, devices=devices)
        return lambda state, batch: _first(mapped(state, batch))

    def replicate(state: PyTree) -> PyTree:
        def spread(leaf):
            leaf = np.asarray(leaf)
            return jax.device_put(np.broadcast_to(leaf, (count, *leaf.shape)), by_device)

        return jax.tree.map(spread, state)

    def shard(batch: HostBatch) -> Batch:
        _check_divisible(batch, count)
        split = {
            name: leaf.reshape(count, leaf.shape[0] // count, *leaf.shape[1:])
            for name, leaf in batch.items()
        }
        return jax.device_put(split, by_device)

    return Layout(
        axis_name=axis_name,
        device_count=count,
        compile_train=compile_train,
        compile_eval=compile_eval,
        replicate=replicate,
        shard=shard,
        fetch=lambda state: jax.tree.map(jnp.copy, _first(state)),
    )


def pad_batch(batch: HostBatch, multiple: int) -> HostBatch:
    """The batch with masked examples added until its size is a multiple of `multiple`.

    Args:
        batch: numpy arrays, with a `mask` [B].
        multiple: usually the number of devices.
    """
    missing = -len(batch["mask"]) % multiple
    if not missing:
        return batch
    return {
        name: np.concatenate([leaf, np.zeros((missing, *leaf.shape[1:]), leaf.dtype)])
        for name, leaf in batch.items()
    }


def _first(tree: PyTree) -> PyTree:
    """The first replica's arrays; the replicas are equal."""
    return jax.tree.map(lambda leaf: leaf.addressable_shards[0].data[0], tree)


def _check_divisible(batch: HostBatch, count: int) -> None:
    size = len(batch["mask"])
    if size % count:
        raise ValueError(
            f"A batch of {size} examples cannot be spread evenly over {count} devices. "
            f"Choose a batch size divisible by {count}."
        )
