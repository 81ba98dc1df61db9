"""StableHLO, by `jax.export`: for JAX without this package, and for all that run XLA's programs."""

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import jax.export
import numpy as np

from cnn_jax.run.exporting.function import Function, symbol

PLATFORMS = ("cpu", "cuda", "tpu")
# Run in a new process, in which cnn_jax cannot be imported.
_PROGRAM = """
import sys
sys.modules["cnn_jax"] = None
import jax.export, numpy
file, examples, results = sys.argv[1:]
with open(file, "rb") as opened:
    network = jax.export.deserialize(bytearray(opened.read()))
found = {}
with numpy.load(examples) as given:
    for name in given.files:
        for i, output in enumerate(network.call(given[name])):
            found[f"{name}_{i}"] = numpy.asarray(output)
numpy.savez(results, **found)
"""


def check_packages() -> None:
    """Raises ValueError if what `jax.export` writes its files with is not installed."""
    if importlib.util.find_spec("flatbuffers") is None:
        raise ValueError(
            "format='stablehlo' needs the package flatbuffers: pip install flatbuffers."
        )


def write(function: Function, path: Path, *, batch: int) -> list[Path]:
    """Writes the file that `jax.export.deserialize` reads.

    With a fixed batch, also the module itself as portable StableHLO bytecode, `.mlir`, which takes
    and gives plain buffers: what C++ compiles through PJRT.

    Args:
        function: what to export.
        path: the file.
        batch: number of images at once; 0 for any.

    Returns:
        The files.
    """
    made = jax.export.export(jax.jit(function.call), platforms=PLATFORMS)(
        function.spec(batch or symbol())
    )
    path.write_bytes(made.serialize())
    if not batch:
        return [path]
    single = jax.export.export(jax.jit(function.call), platforms=("cpu",))(function.spec(batch))
    module = path.with_name(path.name + ".mlir")
    module.write_bytes(single.mlir_module_serialized)
    return [path, module]


def outputs(path: Path, examples: dict[str, np.ndarray]) -> dict[str, list[np.ndarray]]:
    """What the file computes in a new process, on its CPU, that cannot import this package.

    Args:
        path: the file.
        examples: inputs by name.

    Returns:
        The outputs by the same names.

    Raises:
        ValueError: the process failed; with the end of what it said.
    """
    with tempfile.TemporaryDirectory() as scratch:
        given, found = Path(scratch, "given.npz"), Path(scratch, "found.npz")
        np.savez(given, **examples)  # type: ignore[arg-type]
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, str(path.resolve()), str(given), str(found)],
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
            cwd=scratch,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = " ".join(done.stderr.split())[-300:]
            raise ValueError(f"{path} cannot be run in a process without cnn_jax: {said}")
        with np.load(found) as read:
            return {
                name: [read[f"{name}_{i}"] for i in range(_count(read.files, name))]
                for name in examples
            }


def _count(files: list[str], name: str) -> int:
    return sum(file.rpartition("_")[0] == name for file in files)
