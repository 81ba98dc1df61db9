"""How the step is spread over devices: the same body compiled by `jax.jit` or by `jax.pmap`.

`jit` shards the global batch over all devices and lets XLA place the communication; a mean over the
batch is then automatically one over the global batch. `pmap` runs one replica of the body on each
device, and the body says where to communicate. A checkpoint is the same for both.

With several processes the devices are those of all of them. Each process supplies its own rows of a
batch, in the order of the processes, and gets replicated results.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cnn_jax.train import gloo
from cnn_jax.typing import Batch, HostBatch, PyTree

LAYOUTS = ("jit", "pmap")


class Layout(NamedTuple):
    """How to compile the steps and where to put their arguments.

    Attributes:
        axis_name: axis name to build the steps with; None if the body sees the global batch.
        device_count: devices of all processes; every global batch must be divisible by it.
        local_device_count: devices of this process; its rows of a batch must be divisible by it.
        compile_train: train step -> compiled train step; its input state is donated.
        compile_eval: eval step -> compiled eval step.
        replicate: state on the host or on one device -> state on every device.
        shard: this process's rows of a batch, on the host -> the batch spread over the devices.
        fetch: state on every device -> a copy of it as ordinary arrays, the same for each layout
            and whole in every process.
        whole: sharded parameters -> whole parameters, inside the train step.
    """

    axis_name: str | None
    device_count: int
    local_device_count: int
    compile_train: Callable
    compile_eval: Callable
    replicate: Callable[[PyTree], PyTree]
    shard: Callable[[HostBatch], Batch]
    fetch: Callable[[PyTree], PyTree]
    whole: Callable[[PyTree], PyTree] = lambda params: params


def make_layout(name: str, devices: Sequence[jax.Device] | None = None) -> Layout:
    """The layout called `name`, 'jit' or 'pmap', over `devices` (default: all).

    Whatever their order, the devices of a process are kept together, so that the rows of a batch
    keep the positions they would have in a single process.

    Raises:
        ValueError: there is no such layout.
    """
    devices = sorted(
        jax.devices() if devices is None else devices,
        key=lambda device: (device.process_index, device.id),
    )
    if name == "jit":
        return jit_layout(devices)
    if name == "pmap":
        return pmap_layout(devices)
    raise ValueError(f"layout={name}: wanted one of {', '.join(LAYOUTS)}.")


def single_device() -> Layout:
    """JAX's default device, with nothing to share out: the steps compile by `jax.jit` alone."""

    def copy(tree: PyTree) -> PyTree:
        return jax.tree.map(jnp.copy, tree)

    def shard(batch: HostBatch) -> Batch:
        # a CPU takes numpy arrays as they are
        return batch if jax.default_backend() == "cpu" else jax.device_put(batch)  # type: ignore

    return Layout(
        axis_name=None,
        device_count=1,
        local_device_count=1,
        compile_train=lambda step: jax.jit(step, donate_argnums=0),
        compile_eval=jax.jit,
        replicate=copy,
        shard=shard,
        fetch=copy,
    )


def jit_layout(devices: Sequence[jax.Device], mesh: Mesh | None = None) -> Layout:
    """One program over a mesh of all devices; arrays are global.

    Args:
        devices: devices in the order of the rows of a batch.
        mesh: mesh of these devices, if it has more axes than 'data'; the batch is spread over all.
    """
    mesh = mesh or Mesh(np.asarray(devices), ("data",))
    gloo.introduce(mesh)
    everywhere = NamedSharding(mesh, PartitionSpec())
    by_example = NamedSharding(mesh, PartitionSpec(mesh.axis_names))

    def compile_train(step):
        return jax.jit(
            step,
            in_shardings=(everywhere, by_example),
            out_shardings=everywhere,
            donate_argnums=0,
        )

    def compile_eval(step):
        return jax.jit(step, in_shardings=(everywhere, by_example), out_shardings=everywhere)

    # jit, not device_put: it copies, and it works with several processes
    place = jax.jit(lambda tree: jax.tree.map(jnp.copy, tree), out_shardings=everywhere)

    local = _local_count(devices)

    def shard(batch: HostBatch) -> Batch:
        _check_divisible(batch, local)
        return _spread(batch, by_example)

    return Layout(
        axis_name=None,
        device_count=len(devices),
        local_device_count=local,
        compile_train=compile_train,
        compile_eval=compile_eval,
        replicate=lambda state: place(jax.device_get(state)),
        shard=shard,
        fetch=place,
    )


def pmap_layout(devices: Sequence[jax.Device]) -> Layout:
    """One replica of the program per device; arrays have a leading axis of devices."""
    axis_name = "data"
    count, local = len(devices), _local_count(devices)
    mesh = Mesh(np.asarray(devices), (axis_name,))
    gloo.introduce(mesh)
    by_device = NamedSharding(mesh, PartitionSpec(axis_name))
    everywhere = NamedSharding(mesh, PartitionSpec())

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
            return _spread(np.broadcast_to(leaf, (local, *leaf.shape)), by_device)

        return jax.tree.map(spread, state)

    def shard(batch: HostBatch) -> Batch:
        _check_divisible(batch, local)
        split = {
            name: leaf.reshape(local, leaf.shape[0] // local, *leaf.shape[1:])
            for name, leaf in batch.items()
        }
        return _spread(split, by_device)

    def fetch(state: PyTree) -> PyTree:
        """Copies of the equal replicas, as one replicated array."""

        def merge(leaf):
            copies = [jnp.copy(shard.data[0]) for shard in leaf.addressable_shards]
            return jax.make_array_from_single_device_arrays(
                leaf.shape[1:], everywhere, copies, dtype=leaf.dtype
            )

        return jax.tree.map(merge, state)

    return Layout(
        axis_name=axis_name,
        device_count=count,
        local_device_count=local,
        compile_train=compile_train,
        compile_eval=compile_eval,
        replicate=replicate,
        shard=shard,
        fetch=fetch,
    )


def pad_batch(batch: HostBatch, multiple: int) -> HostBatch:
    """The batch with masked examples added until its size is a multiple of `multiple`.

    Args:
        batch: numpy arrays, with a `mask` [B].
        multiple: usually the number of devices of this process.
    """
    missing = -len(batch["mask"]) % multiple
    if not missing:
        return batch
    return {
        name: np.concatenate([leaf, np.zeros((missing, *leaf.shape[1:]), leaf.dtype)])
        for name, leaf in batch.items()
    }


def _spread(tree: PyTree, sharding: NamedSharding) -> PyTree:
    """This process's rows, in numpy -> global arrays."""
    if sharding.is_fully_addressable:  # a single process
        return jax.device_put(dict(tree) if isinstance(tree, Mapping) else tree, sharding)
    return jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(sharding, leaf), tree)


def _local_count(devices: Sequence[jax.Device]) -> int:
    """The number of devices of this process, which is the same in every process.

    Raises:
        ValueError: the numbers differ.
    """
    counts = Counter(device.process_index for device in devices)
    if len(counts) < jax.process_count() or len(set(counts.values())) > 1:
        raise ValueError(
            f"Every process must have the same number of devices; the {jax.process_count()} "
            f"processes have {[counts[i] for i in range(jax.process_count())]}."
        )
    return counts[jax.process_index()]


def _first(tree: PyTree) -> PyTree:
    """The first replica's arrays; the replicas are equal."""
    return jax.tree.map(lambda leaf: leaf.addressable_shards[0].data[0], tree)


def _check_divisible(batch: HostBatch, count: int) -> None:
    size = len(batch["mask"])
    if size % count:
        raise ValueError(
            f"A batch of {size} examples cannot be split evenly over {count} devices. "
            f"Choose a batch size divisible by {count}."
        )
