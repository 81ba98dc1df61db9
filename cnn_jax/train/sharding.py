"""Shards large parameters: fully sharded data parallelism on a mesh of 'data' and 'model'.

With replication each device holds all parameters, their optimiser state and their moving average.
Here a large array is sharded along 'model', and each device keeps its shard between steps. In a
step the kernels are gathered where they are used, and every device works on its own examples as
before: the batch is spread over both axes, so that 'model' costs communication but no arithmetic is
done twice (Rajbhandari et al. 2020, ZeRO stage 3, arXiv:1910.02054; Xu et al. 2020,
arXiv:2004.13336, for the update alone). Sharding the channels of activations as well would change
the sums of every convolution, and is worthwhile only if one layer fills a device.
"""

import math
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cnn_jax.train.layout import Layout, jit_layout
from cnn_jax.typing import Array, PyTree

AXES = ("data", "model")
# Smaller arrays stay whole: 64 KiB in float32, below which latency dominates a transfer.
LEAST = 2**14


def parse_mesh(text: str, devices: int) -> dict[str, int]:
    """'data:4,model:2' -> {'data': 4, 'model': 2}.

    Raises:
        ValueError: other axes or sizes, or another number of devices.
    """
    wanted = f"mesh={text}: wanted sizes of data and model, such as data:4,model:2."
    sizes = dict.fromkeys(AXES, 1)
    given = []
    for item in text.split(","):
        name, _, size = item.partition(":")
        if name not in AXES or name in given or not size.isdecimal() or int(size) < 1:
            raise ValueError(wanted)
        given.append(name)
        sizes[name] = int(size)
    if math.prod(sizes.values()) != devices:
        raise ValueError(
            f"mesh={text} has {math.prod(sizes.values())} places for {devices} devices."
        )
    return sizes


def mesh_layout(
    devices: Sequence[jax.Device], sizes: dict[str, int], *, least: int = LEAST
) -> Layout:
    """The jit layout on a mesh of these sizes, with large arrays of the state sharded on 'model'.

    Args:
        devices: data * model devices; neighbours share 'model', so that devices of the same host
            exchange the shards.
        sizes: sizes of AXES.
        least: smaller arrays stay whole, see `spec_of`.
    """
    mesh = Mesh(np.asarray(devices).reshape([sizes[name] for name in AXES]), AXES)
    everywhere = NamedSharding(mesh, PartitionSpec())
    base = jit_layout(devices, mesh)

    def placed(leaf) -> NamedSharding:
        return NamedSharding(mesh, spec_of(leaf.shape, sizes["model"], least))

    def constrain(tree: PyTree) -> PyTree:
        return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, placed(leaf)), tree)

    def whole(tree: PyTree) -> PyTree:
        return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, everywhere), tree)

    def compile_train(step):
        def sharded(state, batch):
            state, metrics = step(state, batch)
            return constrain(state), metrics

        return jax.jit(sharded, out_shardings=(None, everywhere), donate_argnums=0)

    def compile_eval(step):
        return jax.jit(lambda state, batch: step(whole(state), batch), out_shardings=everywhere)

    def place(leaf) -> Array:
        """Places an array of the host, each device's shard alone."""
        leaf = np.asarray(leaf)
        return jax.make_array_from_callback(
            leaf.shape, placed(leaf), lambda part: np.array(leaf[part])
        )

    return base._replace(
        compile_train=compile_train,
        compile_eval=compile_eval,
        replicate=lambda state: jax.tree.map(place, jax.device_get(state)),
        whole=whole,
    )


def spec_of(shape: Sequence[int], parts: int, least: int = LEAST) -> PartitionSpec:
    """How an array is sharded: along its longest axis that `parts` divides, the last of several.

    For most kernels that is the output channels. Arrays of fewer than `least` numbers, and those
    without such an axis, stay whole. The rule uses only shapes, so that momenta and averages are
    sharded like their parameters.
    """
    if parts == 1 or math.prod(shape) < least:
        return PartitionSpec()
    fitting = [axis for axis, size in enumerate(shape) if size % parts == 0]
    if not fitting:
        return PartitionSpec()
    longest = max(fitting, key=lambda axis: (shape[axis], axis))
    return PartitionSpec(*(None,) * longest, "model")
