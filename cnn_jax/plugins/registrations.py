"""What is registered in any table, and by which module."""

import sys
from collections.abc import Iterator

from cnn_jax import registry

OURS = ("cnn_jax", "experiments")  # packages whose registrations are no plug-in's


def added() -> Iterator[tuple[str, str, str]]:
    """(kind, name, origin) of everything that is registered and is not ours."""
    for table in registry.tables():
        for name in table:
            origin = table.origin(name)
            if is_added(origin):
                yield table.what, name, origin


def added_names() -> set[tuple[str, str]]:
    return {(kind, name) for kind, name, _ in added()}


def is_added(origin: str) -> bool:
    """Whether a module that registered something is none of this package."""
    return not any(within(origin, package) for package in OURS)


def forget(taken: set[tuple[str, str]], imported: set[str], module: str) -> None:
    """Undoes what a plug-in did before it failed, so that it can be mended and loaded again."""
    undone = {module}
    for table in registry.tables():
        for name in list(table):
            if (table.what, name) in taken:
                undone.add(table.origin(name))
                table.forget(name)
    for each in imported:
        if any(within(each, one) for one in undone):
            sys.modules.pop(each, None)


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")
