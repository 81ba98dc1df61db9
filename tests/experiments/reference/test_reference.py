"""The reference has a page for each public module, and the examples in docstrings are true."""

import doctest
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.reference import pages

ROOT = Path(__file__).parents[3]
EXAMPLES = 10  # of the library, at least


def test_every_public_module_has_a_page():
    files = subprocess.run(
        ["git", "ls-files", "cnn_jax/*.py", "cnn_jax/**/*.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    if not files:
        files = [str(path.relative_to(ROOT)) for path in ROOT.glob("cnn_jax/**/*.py")]
    wanted = {
        re.sub(r"/__init__$", "", file.removesuffix(".py")).replace("/", ".") for file in files
    }
    wanted = {name for name in wanted if "._" not in name}
    listed = pages.modules()
    assert wanted <= set(listed)
    assert len(listed) == len(set(listed))
    addresses = {pages.page_of(name).lower() for name in listed}  # some systems know no capitals
    assert len(addresses) == len(listed)
    assert pages.modules("cnn_jax.boxes.n*") == ["cnn_jax.boxes.nms"]


def test_examples_in_docstrings_are_true():
    run = 0
    for package in ("cnn_jax", "experiments"):
        for path in sorted((ROOT / package).glob("**/*.py")):
            text = path.read_text(encoding="utf-8")
            if not re.search(r"(?m)^\s*>>> ", text):
                continue
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(part for part in parts if part != "__init__")
            done = doctest.testmod(importlib.import_module(name))
            assert not done.failed, name
            assert done.attempted, name
            run += 1
    assert run >= EXAMPLES


@pytest.mark.slow
def test_pages_are_built(tmp_path):
    pytest.importorskip("pdoc")

    def command(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "experiments.reference", *arguments],
            cwd=ROOT,
            env=os.environ,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    output = tmp_path / "pages"
    done = command(f"--output={output}", "--only=cnn_jax.boxes*")
    assert done.returncode == 0, done.stderr
    names = pages.modules("cnn_jax.boxes*")
    assert f"{len(names)} pages in" in " ".join(done.stdout.split())
    for name in names:
        text = (output / pages.page_of(name)).read_text(encoding="utf-8")
        assert f"<title>{name} API documentation</title>" in text
        assert not re.search(r'(?:src|href)="https?://', text)  # nothing is fetched
    package = (output / "cnn_jax/boxes.html").read_text(encoding="utf-8")
    assert 'href="boxes/geometry.html"' in package  # which __all__ does not name
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    done = command(f"--output={tmp_path / 'mine'}", "--only=cnn_jax.boxes*")
    assert done.returncode == 1
    assert "holds other files: give a new directory" in done.stderr
