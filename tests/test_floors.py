"""A module imports only from the floors below its own, and never in a circle."""

import ast
import functools
import graphlib
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.once  # these read our own text

ROOT = Path(__file__).parent.parent

PACKAGES = ("cnn_jax", "experiments")

# The higher may import the lower. Packages that stand beside each other do not see each other,
# unless the pair is in BESIDE.
FLOORS = {
    "experiments": 5,
    "cnn_jax.run": 4,
    "cnn_jax.models": 3,
    "cnn_jax.tasks": 3,
    "cnn_jax.analysis": 3,
    "cnn_jax.layers": 2,
    "cnn_jax.losses": 2,
    "cnn_jax.metrics": 2,
    "cnn_jax.boxes": 1,
    "cnn_jax.augment": 1,
    "cnn_jax.train": 1,
    "cnn_jax.data": 1,
    "cnn_jax.weights": 1,
    "cnn_jax.typing": 0,
    "cnn_jax.namespace": -1,  # how packages load their modules
    "cnn_jax.registry": -1,
    "cnn_jax.plugins": 0,
    "cnn_jax.stores": 0,
    "cnn_jax.printable": 0,
    "cnn_jax.cpu": 0,
    "cnn_jax.gpu": 0,
    "cnn_jax.scratch": -1,
    "cnn_jax.shapes": -1,
    "cnn_jax.strict_json": -1,
    "cnn_jax.jax_internals": -1,  # beneath all that use JAX
}

BESIDE = {
    ("cnn_jax.augment", "cnn_jax.boxes"),  # what moves an image moves its boxes
    ("cnn_jax.gpu", "cnn_jax.cpu"),  # the same methods, for another platform
}


def package_of(module: str) -> str | None:
    """The part of FLOORS that a dotted name belongs to."""
    for name in FLOORS:
        if module == name or module.startswith(name + "."):
            return name
    return None


@functools.cache
def import_nodes(text: str) -> list[ast.Import | ast.ImportFrom]:
    """What each of the tests below asks of each file, parsed once."""
    nodes = ast.walk(ast.parse(text))
    return [node for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom))]


def imports(path: Path):
    """Every module that a file imports, however it writes it."""
    for node in import_nodes(path.read_text()):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        else:
            assert node.level == 0, f"{path}: write imports in full"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path, modules):
    """The modules, of these, that a file imports: of `from a import b` a.b where that is one."""
    for node in import_nodes(path.read_text()):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        else:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                name = name if name in modules else node.module
                if name in modules:
                    yield name


def cycle(paths, root: Path) -> list[str]:
    """Modules of which each imports the one before, the first again at the end; or none.

    Imports inside functions count: they hide a circle, and do not undo it. What is imported by a
    name in a table, as `cnn_jax.data.opening` does, does not.
    """
    modules = {module_name(path, root): path for path in paths}
    graph = {name: set(imported(path, modules)) for name, path in modules.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


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
            assert FLOORS[other] < FLOORS[own] or (own, other) in BESIDE, (
                f"{path} ({own}) climbs to {module}"
            )


def test_no_circle_of_imports():
    found = cycle(sources(), ROOT)
    assert not found, " is imported by ".join(found)


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


def test_absl_is_imported_by_experiments_alone():
    for path in ROOT.glob("cnn_jax/**/*.py"):
        found = [name for name in imports(path) if name.split(".")[0] == "absl"]
        assert not found, f"{path} imports {found}: log by logging, and take parameters"


FOREIGN = ("--xla_", "--file_format")  # flags of XLA, and of other programs
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z_]*\w")
CSS = re.compile(r"var\(--[\w-]+\)|--[\w-]+: ")  # variables of a page's style


def flags_in(text: str) -> list[str]:
    """The flags in the string literals of a module, f-strings and docstrings included."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found += FLAG.findall(CSS.sub("", node.value))
    return found


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("cnn_jax/**/*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_the_library_names_parameters_and_no_flags(path):
    found = [flag for flag in flags_in(path.read_text()) if not flag.startswith(FOREIGN)]
    assert not found, f"{path} has {found}: write name=value, or `name`; experiments add the dashes"


def test_the_walker_sees_a_flag():
    assert flags_in('raise ValueError(f"--image_size={x}: no")') == ["--image_size"]
    assert flags_in('"--soft: #fff; color: var(--soft)"') == []
    assert flags_in('"""Doc: `--augment`."""\nx = "a -- b, c--d, ---"') == ["--augment"]


def test_no_file_without_a_subject():
    for path in sources():
        assert path.stem not in ("util", "utils", "helper", "helpers", "common", "misc"), path


def test_walker_sees_a_climb(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("def f():\n    from cnn_jax.models import create\n")
    assert "cnn_jax.models" in {package_of(m) for m in imports(bad)}


@pytest.mark.parametrize("line", ["from box.b import x", "from box import b", "import box.b"])
def test_walker_sees_a_circle_inside_a_function(tmp_path, line):
    (tmp_path / "box").mkdir()
    (tmp_path / "box" / "__init__.py").write_text("from box import a\nfrom box.b import x\n")
    (tmp_path / "box" / "a.py").write_text(f"def f():\n    {line}\n")
    (tmp_path / "box" / "b.py").write_text("x = 1\n")
    files = sorted(tmp_path.glob("box/*.py"))
    assert not cycle(files, tmp_path)
    (tmp_path / "box" / "b.py").write_text("from box import a\nx = 1\n")
    assert set(cycle(files, tmp_path)) == {"box.a", "box.b"}
    (tmp_path / "box" / "b.py").write_text("from box import x as y\nx = 1\n")  # its own package
    assert set(cycle(files, tmp_path)) >= {"box", "box.b"}
