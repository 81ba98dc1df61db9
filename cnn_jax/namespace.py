"""Packages that import a module of theirs when it is asked for, not before (PEP 562).

__all__ = ["loop", "step"]

def __getattr__(name: str):
    return submodule(__name__, name, __all__)
"""

import importlib
from collections.abc import Collection
from types import ModuleType


def submodule(package: str, name: str, public: Collection[str]) -> ModuleType:
    """The module `name` of a package, imported now.

    Raises:
        AttributeError: it is not one of the public ones. (`import package.name` finds all.)
    """
    if name not in public:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    return importlib.import_module(f"{package}.{name}")
