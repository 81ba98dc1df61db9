"""ONNX files in onnxruntime-web, which browsers run, under node.

    npm install --prefix DIRECTORY onnxruntime-web
    ONNXRUNTIME_WEB=DIRECTORY pytest -m exhaustive tests/run/exporting/test_web.py

EXPORT_RUN=DIRECTORY names a run to export too, such as a fine-tuned EfficientNet-Lite0.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from cnn_jax import run
from cnn_jax.run import exporting
from cnn_jax.run.exporting import agreement, function

pytest.importorskip("onnx", reason="the extra `onnx` is not installed")
WEB = os.environ.get("ONNXRUNTIME_WEB", "")


def networks():
    yield "a classifier", exporting.open_network("resnet8", num_classes=4)
    yield (
        "suppression",
        exporting.open_network("detector_small", num_classes=2, image_size=(64, 64)),
    )
    if "EXPORT_RUN" in os.environ:
        yield "a run", run.open(os.environ["EXPORT_RUN"])


@pytest.mark.exhaustive
@pytest.mark.skipif(not WEB or shutil.which("node") is None, reason="no node or ONNXRUNTIME_WEB")
def test_node_computes_what_the_network_computes(tmp_path):
    program = Path(WEB) / "in_node.mjs"  # node looks for packages beside the program
    shutil.copy(Path(__file__).with_name("in_node.mjs"), program)
    for name, network in networks():
        made = run.export(network, tmp_path / "net.onnx", overwrite=True)
        own = function.function_of(network, normalisation="inside")
        x = own.example(3)
        (tmp_path / "x.bin").write_bytes(x.tobytes())
        shape = json.dumps(x.shape)
        done = subprocess.run(
            ["node", program.name, str(made.files[0]), str(tmp_path / "x.bin"), shape],
            cwd=WEB,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        want = own.expected(x)
        found = [
            np.array(flat, each.dtype).reshape(each.shape)
            for flat, each in zip(json.loads(done.stdout), want, strict=True)
        ]
        difference = agreement.differ(want, found, own.boxed)
        print(f"{name}, {network.facts.model}: largest difference {difference}")
        assert difference.fine
        assert difference.largest <= 1e-5
