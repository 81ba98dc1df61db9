"""The wheel alone: in an environment and a directory without the repository."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CELLS = Path(__file__).parent / "use" / "cells.py"


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The interpreter of a fresh environment with the wheel. The packages that it needs are those
    of the environment of the tests, behind it on the path."""
    where = tmp_path_factory.mktemp("wheel")
    source = where / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    (source / "cnn_jax").symlink_to(ROOT / "cnn_jax")
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", where, source], check=True)
    venv.create(where / "env", with_pip=False)
    own = Path(sysconfig.get_path("purelib", vars={"base": str(where / "env")}))
    (wheel,) = where.glob("cnn_jax-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", own, wheel], check=True)
    (own / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return where / "env" / "bin" / "python"


def environment(directory):
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**kept, "HOME": str(directory), "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}


@pytest.mark.slow
def test_a_script_of_forty_lines(python, tmp_path):
    text = CELLS.read_text()
    assert len([line for line in text.splitlines() if line.strip()]) <= 40
    (tmp_path / "use.py").write_text(text)
    (tmp_path / "empty").mkdir()
    where = {"cwd": tmp_path / "empty", "env": environment(tmp_path)}
    found = "import cnn_jax, sys; print(cnn_jax.__file__); import importlib.util as u; "
    found += "print(u.find_spec('experiments'))"
    said = subprocess.run(
        [python, "-c", found], capture_output=True, text=True, check=True, **where
    )
    file, experiments = said.stdout.split()
    assert not Path(file).is_relative_to(ROOT)
    assert experiments == "None"
    done = subprocess.run(
        [python, tmp_path / "use.py"], capture_output=True, text=True, check=False, **where
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert {path.name for path in (tmp_path / "empty").iterdir()} == {"digits"}


# In a process of its own: the client leaves sockets open.
EXECUTE = """
import sys
import jupyter_client, nbclient, nbformat
from jupyter_client.kernelspec import KernelSpecManager

notebook, kernels, where = sys.argv[1:]
cells = nbformat.read(notebook, 4)
specs = KernelSpecManager(kernel_dirs=[kernels])
manager = jupyter_client.KernelManager(kernel_name="wheel", kernel_spec_manager=specs)
resources = {"metadata": {"path": where}}
nbclient.NotebookClient(cells, km=manager, timeout=180, resources=resources).execute()
nbformat.write(cells, notebook)
"""


@pytest.mark.slow
def test_a_notebook_of_the_same_cells(python, tmp_path):
    for package in ("nbclient", "ipykernel"):
        pytest.importorskip(package, reason="pip install 'cnn-jax[test]'")
    kernel = tmp_path / "kernels" / "wheel"
    kernel.mkdir(parents=True)
    start = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": start, "display_name": "wheel", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    cells = [
        {"id": str(index), "cell_type": "code", "metadata": {}, "outputs": [],
         "execution_count": None, "source": f"#{text.rstrip()}"}
        for index, text in enumerate(filter(str.strip, CELLS.read_text().split("# %%")))
    ]  # fmt: skip
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}
    (tmp_path / "use.ipynb").write_text(json.dumps(notebook))
    (tmp_path / "empty").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", EXECUTE, tmp_path / "use.ipynb", tmp_path / "kernels",
         tmp_path / "empty"],
        capture_output=True, text=True, check=False, env=environment(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = json.loads((tmp_path / "use.ipynb").read_text())["cells"]
    outputs = [output for cell in made for output in cell["outputs"]]
    assert not [output for output in outputs if output.get("name") == "stderr"], outputs
    assert "test_accuracy" in str(outputs[:20])
    bars = [
        data["text/html"] for output in outputs if "<progress" in str(data := output.get("data"))
    ]
    assert len(bars) == 2, "one of each run, drawn in place"
    assert '<progress value="60" max="60">' in "".join(bars[1])
    assert "step 60/60  loss 0." in "".join(bars[1])
