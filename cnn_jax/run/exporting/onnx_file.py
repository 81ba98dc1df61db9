"""ONNX files: written here, and run by onnxruntime."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cnn_jax import jax_internals
from cnn_jax.run.exporting import onnx_program
from cnn_jax.run.exporting.function import BATCH, Function, symbol
from cnn_jax.run.exporting.onnx_graph import Graph

LEAST_OPSET = 13
LARGEST = 2_000_000_000  # bytes of one file: its encoding ends at 2^31
INSTALL = "pip install 'cnn-jax[onnx]', or pip install onnx onnxruntime"


def library(name: str) -> Any:
    """The package onnx or onnxruntime.

    Raises:
        ValueError: it is not installed.
    """
    try:
        return __import__(name)
    except ImportError as error:
        raise ValueError(f"format='onnx' needs the package {name} ({error}): {INSTALL}.") from None


def check_opset(opset: int) -> None:
    """Raises ValueError for operators of a version that we do not write, or onnx does not know."""
    newest = library("onnx").defs.onnx_opset_version()
    if not LEAST_OPSET <= opset <= newest:
        raise ValueError(
            f"opset={opset}: wanted {LEAST_OPSET} to {newest}, the newest of the installed onnx."
        )


def write(
    function: Function, path: Path, *, batch: int, opset: int, description: dict[str, Any]
) -> None:
    """Writes an ONNX file.

    Args:
        function: what to export.
        path: the file.
        batch: number of images at once; 0 for any.
        opset: version of the operators.
        description: kept in the file too, as metadata.

    Raises:
        ValueError: the network has an operation that cannot be expressed, or is too large.
    """
    onnx = library("onnx")
    check_opset(opset)
    helper = onnx.helper
    size = batch or symbol()
    program = jax.make_jaxpr(function.call)(function.spec(size))
    g = Graph(opset, None if batch else size)
    given = "image" if len(function.shape) > 2 else "sequence"
    if not batch:
        whole = g.node("Shape", given)
        zero, one = g.integers([0]), g.integers([1])
        g.nodes.append(helper.make_node("Slice", [whole, zero, one], ["batch_size"]))
    try:
        outputs = onnx_program.convert(g, program, [given])
    except (NotImplementedError, jax_internals.MovedError) as error:
        raise ValueError(
            f"The network cannot be written as ONNX: there is no rule for {error}. "
            "format='stablehlo' takes every network."
        ) from error
    for value, output in zip(outputs, function.outputs, strict=True):
        g.nodes.append(helper.make_node("Identity", [g.name(value)], [output.name]))
    if g.bytes > LARGEST:
        raise ValueError(
            f"The network has {g.bytes / 1e9:.1f} GB of parameters, and an ONNX file holds 2. "
            "format='stablehlo' takes every network."
        )

    def info(name: str, aval: Any) -> Any:
        shape = [n if isinstance(n, int) else BATCH for n in aval.shape]
        return helper.make_tensor_value_info(name, g.type(aval.dtype), shape)

    graph = helper.make_graph(
        g.nodes,
        "network",
        [info(given, program.in_avals[0])],
        [info(o.name, a) for o, a in zip(function.outputs, program.out_avals, strict=True)],
        list(g.initialisers.values()),
    )
    domain = [helper.make_opsetid("", opset)]
    model = helper.make_model(
        graph,
        opset_imports=domain,
        ir_version=helper.find_min_ir_version_for(domain),
        producer_name="cnn_jax",
    )
    helper.set_model_props(model, {"description": json.dumps(description)})
    path.write_bytes(model.SerializeToString())
    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        raise ValueError(f"onnx rejects what was written: {_first_line(error)}.") from error


def outputs(path: Path, examples: dict[str, np.ndarray]) -> dict[str, list[np.ndarray]]:
    """What onnxruntime computes from the file."""
    runtime = library("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # what is wrong is raised
    try:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return {key: session.run(None, {name: x}) for key, x in examples.items()}
    except Exception as error:  # its errors have no class of their own in common
        raise ValueError(
            f"onnxruntime {runtime.__version__} does not run the file: {_first_line(error)}. "
            "Another opset may do, or format='stablehlo'."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300].rstrip(".")
