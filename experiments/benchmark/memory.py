"""Peak memory of a training step as XLA reports it: batch size, accumulation, remat, bfloat16.

    python -m experiments.benchmark.memory --workdir=DIR
    python -m experiments.benchmark.memory --batch_sizes=32,64 --nocpu_convolutions

Nothing is run: the figures are those of `compiled.memory_analysis()`, for one device. `arguments`
is the state and the batch; `temporary` is what the step needs besides, mostly activations; `peak`
is both plus the outputs, less the donated buffers. Rows with a mesh are for one of eight virtual
devices, which hold the state whole (8:1) or in shards; `predicted` is the expected size of the
arguments: large arrays of the state divided by MODEL, the batch by eight.
"""

import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from absl import flags

from cnn_jax import models
from cnn_jax.train import layout, sharding
from cnn_jax.typing import PyTree
from experiments import entry
from experiments.benchmark import program, timing

WORKDIR = flags.DEFINE_string("workdir", "", "Directory for result.json; '' for none.")
MODEL = flags.DEFINE_string("model", "resnet18", "Name of the network.")
OPTIONS = flags.DEFINE_bool("small_stem", True, "Use the stem for small images (ResNets).")
SIZE = flags.DEFINE_integer("image_size", 32, "Height and width of the images.", lower_bound=8)
BATCHES = flags.DEFINE_list("batch_sizes", ["16", "32", "64"], "Batch sizes to compile.")
CONVOLUTIONS = flags.DEFINE_bool("cpu_convolutions", True, "Use cnn_jax.cpu.")
MESHES = flags.DEFINE_list("meshes", ["8:1", "4:2", "2:4"], "Meshes DATA:MODEL of eight devices.")


class Row(NamedTuple):
    """The options of a step to compile."""

    batch_size: int
    accumulate: int = 1
    remat: bool = False
    dtype: str = "float32"
    mesh: str = ""


def rows() -> list[Row]:
    """Every batch size; at the largest also the options that save memory, and the meshes."""
    sizes = [int(size) for size in BATCHES.value]
    largest = max(sizes)
    return [
        *(Row(size) for size in sizes),
        Row(largest, accumulate=2),
        Row(largest, accumulate=4),
        Row(largest, remat=True),
        Row(largest, accumulate=4, remat=True),
        Row(largest, dtype="bfloat16"),
        *(Row(largest, mesh=mesh) for mesh in MESHES.value if mesh),
    ]


def measure(row: Row) -> dict[str, Any]:
    """Compiles the step and reads XLA's memory analysis."""
    options: dict[str, Any] = {"stem": "small"} if OPTIONS.value else {}
    dtype = jnp.bfloat16 if row.dtype == "bfloat16" else None
    model = models.create(
        MODEL.value, num_classes=program.CLASSES, dtype=dtype, remat=row.remat, **options
    )
    placed = layout.jit_layout(jax.devices()[:1])
    if row.mesh:
        data, parts = map(int, row.mesh.split(":"))
        placed = sharding.mesh_layout(jax.devices()[: data * parts], {"data": data, "model": parts})
    shape = (SIZE.value, SIZE.value, 3)
    made = program.classifier(
        model, shape, row.batch_size, accumulate=row.accumulate, whole=placed.whole
    )
    now = placed.replicate(made.create())
    compiled = placed.compile_train(made.step).lower(now, placed.shard(made.batch)).compile()
    seen = compiled.memory_analysis()
    arguments, temporary = seen.argument_size_in_bytes, seen.temp_size_in_bytes
    # not `peak_memory_in_bytes`, which omits the temporary buffers on a CPU
    peak = arguments + temporary + seen.output_size_in_bytes - seen.alias_size_in_bytes
    predicted = {}
    if row.mesh:
        batch = sum(leaf.nbytes for leaf in jax.tree.leaves(made.batch)) / (data * parts)
        predicted = {"predicted_mib": round((_share(now, parts) + batch) / 2**20, 1)}
    return {
        **row._asdict(),
        **predicted,
        "arguments_mib": round(arguments / 2**20, 1),
        "temporary_mib": round(temporary / 2**20, 1),
        "peak_mib": round(peak / 2**20, 1),
    }


def _share(state: PyTree, parts: int) -> float:
    """Bytes of a state on one device, with sharded arrays in `parts` equal parts."""

    def share(leaf: jax.Array) -> float:
        return leaf.nbytes / (parts if any(sharding.spec_of(leaf.shape, parts)) else 1)

    return sum(share(leaf) for leaf in jax.tree.leaves(state))


def main() -> int:
    # nothing is run, so LLVM need not optimise
    os.environ["XLA_FLAGS"] = (
        f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"
    )
    entry.set_up_jax(
        cpu_devices=8 if any(MESHES.value) else 1,
        cpu_convolutions=CONVOLUTIONS.value,
        compilation_cache="",  # a cached program reports less about its memory
    )
    table = []
    for row in rows():
        table.append(measure(row))
        print("  ".join(f"{name} {value}" for name, value in table[-1].items()), flush=True)
    result = {
        "model": MODEL.value,
        "image_size": SIZE.value,
        "cpu_convolutions": CONVOLUTIONS.value,
        "rows": table,
        "machine": timing.machine(),
    }
    timing.write_result(WORKDIR.value, result)
    return 0


if __name__ == "__main__":
    entry.launch(main)
