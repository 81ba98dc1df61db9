"""A name for the code of a measurement, by which its results are known to be still those of it."""

import ast
import functools
import hashlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

LESSON = Path(__file__).parents[1]
PACKAGE = "experiments.concepts"

_Place = tuple[Path, str]  # the file of a module, and a name in it


def key(function: Callable[..., Any]) -> str:
    """16 hexadecimal digits of the code that a function reaches within the lesson.

    The code is that of the function, and of the functions, classes and constants that it names, in
    its module and in others of the lesson. Comments, docstrings, annotations' texts and every
    `Text(...)` are left out, so that a sentence may change. So are the names of files: code that
    moves to another module is the same code. What comes from outside the lesson (`cnn_jax`, JAX)
    is left out too: `--fresh` measures again after a change there.

    Raises:
        ValueError: a module of the lesson is imported whole, so that what is used of it is hidden.
    """
    function = inspect.unwrap(function)
    return of(Path(inspect.getfile(function)), function.__name__)  # its module may be __main__


def of(file: Path, name: str, *, lesson: Path = LESSON) -> str:
    """The key of a function in a file, of a lesson in another directory too; nothing is run."""
    parts: dict[_Place, str] = {}
    waiting = [(file, name)]
    while waiting:
        place = waiting.pop()
        if place in parts:
            continue
        if not place[0].exists():  # a package, of which the module `name` is imported
            raise ValueError(
                f"{file}: the measurement uses the module {place[1]} of "
                f"{place[0].with_suffix('')}. Import what it uses of it by name, so that it can be "
                "seen which code that is."
            )
        names, sources = _module(place[0], lesson)
        if place[1] in sources:
            parts[place] = sources[place[1]].code
            waiting += [(place[0], name) for name in sources[place[1]].names]
        elif place[1] in names:
            waiting.append(names[place[1]])
    text = "\n".join(sorted(f"{name}: {code}" for (_, name), code in parts.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class _Source:
    """A definition: its code without texts, and the names in it."""

    def __init__(self, node: ast.AST):
        bare = _Bare().visit(node)
        self.code = ast.unparse(bare)  # which is the same in all versions of Python, unlike dump
        self.names = {each.id for each in ast.walk(bare) if isinstance(each, ast.Name)}


@functools.cache
def _module(path: Path, lesson: Path) -> tuple[dict[str, _Place], dict[str, _Source]]:
    """What a module of the lesson imports from others of it, and what it defines."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported: dict[str, _Place] = {}
    sources: dict[str, _Source] = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(f"{PACKAGE}."):
            imported.update(_imported(node, lesson))
        for defined in _defined(node):
            sources[defined] = _Source(node)
    return imported, sources


def _imported(node: ast.ImportFrom, lesson: Path) -> Iterator[tuple[str, _Place]]:
    inner = lesson.joinpath(*str(node.module).removeprefix(PACKAGE).split("."))
    for alias in node.names:
        yield alias.asname or alias.name, (inner.with_suffix(".py"), alias.name)


def _defined(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            yield from (each.id for each in ast.walk(target) if isinstance(each, ast.Name))
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        yield node.target.id


class _Bare(ast.NodeTransformer):
    """Removes docstrings, and texts in two languages."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        body = getattr(node, "body", None)
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and body:
            first = body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = body[1:] or [ast.Pass()]
        return super().generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:  # ast's name
        if isinstance(node.func, ast.Name) and node.func.id == "Text":
            return ast.Constant(None)
        return self.generic_visit(node)
