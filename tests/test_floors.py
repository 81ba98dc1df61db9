"""A module imports only from the floors below its own."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

PACKAGES = ("cnn_jax", "experiments")

# The higher may import the lower. Packages that stand beside each other do not see each other,
# unless a pair is listed.
FLOORS = {
    "experiments": 4,
    "cnn_jax.models": 3,
    "cnn_jax.tasks": 3,
    "cnn_jax.analysis": 3,
    "cnn_jax.layers": 2,
    "cnn_jax.losses": 2,
    "cnn_jax.detection_losses": 2,
    "cnn_jax.average_precision": 2,
    "cnn_jax.metrics": 2,
    "cnn_jax.ops": 1,
    "cnn_jax.train": 1,
    "cnn_jax.data": 1,
    "cnn_jax.weights": 1,
    "cnn_jax.typing": 0,
    "cnn_jax.stores": 0,
    "cnn_jax.printable": 0,
    "cnn_jax.cpu": 0,
    "cnn_jax.scratch": -1,
    "cnn_jax.jax_internals": -1,  # beneath all that use JAX
}


def package_of(module: str) -> str | None:
    """The part of FLOORS that a dotted name belongs to."""
    for name in FLOORS:
        if module == name or module.startswith(name + "."):
            return name
    return None


def imports(path: Path):
    """Every module that a file imports, however it writes it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def sources():
    return sorted([*ROOT.glob("cnn_jax/**/*.py"), *ROOT.glob("experiments/**/*.py")])


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_do_not_climb(path):
    own = package_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
    if own is None:
        assert path.relative_to(ROOT) == Path("cnn_jax/__init__.py")
        return
    for module in imports(path):
        if module == "jax" or module.startswith("jax."):
            assert own != "cnn_jax.data", f"{path} imports {module}; data does without jax"
        other = package_of(module)
        if other is not None and other != own:
            assert FLOORS[other] < FLOORS[own], f"{path} ({own}) climbs to {module}"


def private_uses(text: str):
    """What a file takes from another module of ours by a name that is that module's own."""
    tree, ours = ast.parse(text), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PACKAGES:
            for alias in node.names:
                ours.add(alias.asname or alias.name)
                if alias.name.startswith("_"):
                    yield f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            tuples = ("_asdict", "_fields", "_make", "_replace")
            own = node.attr.startswith("_") and not node.attr.startswith("__")
            if own and node.value.id in ours and node.attr not in tuples:
                yield ast.unparse(node)


def test_private_names_stay_in_their_module():
    found = {str(path): list(private_uses(path.read_text())) for path in sources()}
    assert not {path: names for path, names in found.items() if names}
    text = "from experiments import workdir as w\nfrom cnn_jax.cpu import _x\nw._lock(w._fields)"
    assert list(private_uses(text)) == ["cnn_jax.cpu._x", "w._lock"]


def test_only_experiments_define_flags():
    for path in ROOT.glob("cnn_jax/**/*.py"):
        assert "DEFINE_" not in path.read_text(), path


def test_no_file_without_a_subject():
    for path in sources():
        assert path.stem not in ("util", "utils", "helper", "helpers", "common", "misc"), path


def test_walker_sees_a_climb(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("def f():\n    from cnn_jax.models import create\n")
    assert "cnn_jax.models" in {package_of(m) for m in imports(bad)}
