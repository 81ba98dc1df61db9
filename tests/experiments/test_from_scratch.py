"""The script that the README shows: short, of the library alone, and it learns."""

import ast
from pathlib import Path

from experiments import from_scratch


def test_it_is_short_and_imports_the_library_alone():
    text = Path(from_scratch.__file__).read_text()
    assert len(text.splitlines()) <= 60
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else
                     [alias.name for alias in node.names])
    }  # fmt: skip
    assert imported == {"cnn_jax", "flax", "jax", "optax"}


def test_it_learns(capsys):
    assert from_scratch.main(epochs=5) > 0.6
    assert "test accuracy" in capsys.readouterr().out
