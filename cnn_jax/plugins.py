"""Plug-ins: a user's own modules that register models, readers, losses and the like.

# my_net.py, in the current directory or on Python's path
cnn_jax.models.register(MyNet, {"my_net": cnn_jax.models.row()}, input_shape=(8, 8, 1))

plugins.load("my_net")  # imports it once; create("my_net", num_classes=10) knows it now

An installed package may offer one under a name of its own, as an entry point of the group
`cnn_jax.plugins`. Nothing is ever loaded unasked, not even to open a run that was trained with it:
a module can do anything, and a run must be repeatable from its settings, which name its plug-ins.
"""

import contextlib
import dataclasses
import hashlib
import importlib
import importlib.metadata
import importlib.util
import logging
import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cnn_jax import registry

__all__ = ["GROUP", "Plugin", "PluginError", "installed", "load", "load_all", "loaded"]

GROUP = "cnn_jax.plugins"  # of entry points
OURS = ("cnn_jax", "experiments")  # packages whose registrations are no plug-in's

_log = logging.getLogger(__name__)


class PluginError(ValueError):
    """A plug-in cannot be loaded, or one that is needed was not."""


@dataclasses.dataclass(frozen=True)
class Plugin:
    """A plug-in that was loaded.

    Attributes:
        name: as given to `load`.
        module: the module that was imported.
        file: its file; '' if it has none.
        digest: the first 16 digits of the SHA-256 of that file, or of all files of a package; ''
            without one.
        version: of the package that offers it as an entry point: 'my-package 1.2'; '' for a module.
        registered: kind -> names: {'model': ('my_net',)}.
    """

    name: str
    module: str
    file: str
    digest: str
    version: str
    registered: Mapping[str, tuple[str, ...]]


_LOADED: dict[str, Plugin] = {}


def load(name: str) -> Plugin:
    """Imports a plug-in, unless it has been loaded already.

    Args:
        name: of an entry point of the group `cnn_jax.plugins`, or of a module in the current
            directory or on Python's path: 'my_net', 'my_package.networks'.

    Raises:
        PluginError: there is no such plug-in, or several; or it fails when it is imported, and then
            nothing of it stays registered.
    """
    if name in _LOADED:
        return _LOADED[name]
    entry = _entry_point(name)
    module_name = name if entry is None else entry.module
    before, imported = _names(), set(sys.modules)
    with _current_directory():
        try:
            _check(name, entry)
            module = importlib.import_module(module_name)
            if entry is not None and entry.attr and callable(offered := entry.load()):
                offered()
        except PluginError:
            raise
        except (Exception, SystemExit) as error:
            _forget(_names() - before, set(sys.modules) - imported, module_name)
            raise PluginError(_why(name, module_name, error)) from error
    file = getattr(module, "__file__", None) or ""
    registered: dict[str, list[str]] = {}
    for kind, each, origin in _added():
        if _within(origin, module_name) or (kind, each) not in before:
            registered.setdefault(kind, []).append(each)
    plugin = Plugin(
        name=name,
        module=module_name,
        file=file,
        digest=_digest(file),
        version=_version(entry),
        registered={kind: tuple(names) for kind, names in registered.items()},
    )
    if not registered:
        _log.warning("The plug-in %s (%s) registers nothing.", name, file or module_name)
    _LOADED[name] = plugin
    return plugin


def load_all(names: str | Iterable[str]) -> tuple[Plugin, ...]:
    """Loads several plug-ins, in this order: 'my_net,my_losses'."""
    return tuple(load(name) for name in split(names))


def split(names: str | Iterable[str]) -> tuple[str, ...]:
    """'my_net, my_losses' -> ('my_net', 'my_losses'), each once."""
    parts = names.split(",") if isinstance(names, str) else [n for x in names for n in x.split(",")]
    return tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))


def to_text(names: str | Iterable[str]) -> str:
    """['my_net', 'my_losses'] -> 'my_net,my_losses'."""
    return ",".join(split(names))


def loaded() -> tuple[Plugin, ...]:
    """The plug-ins that were loaded, in order."""
    return tuple(_LOADED.values())


def installed() -> tuple[importlib.metadata.EntryPoint, ...]:
    """The plug-ins that installed packages offer, by name. None of them is imported."""
    found = importlib.metadata.entry_points(group=GROUP)
    return tuple(sorted(found, key=lambda entry: entry.name))


def record() -> dict[str, Any]:
    """What is registered beside our own, by the module it came from: JSON, for a run to keep.

    {'my_net': {'registered': {'model': ['my_net']}, 'plugin': 'my_net', 'digest': '0f3c...'}}
    """
    known: dict[str, dict[str, Any]] = {}
    for kind, name, origin in _added():
        plugin = next((each for each in loaded() if name in each.registered.get(kind, ())), None)
        entry = known.setdefault(plugin.module if plugin else origin, {"registered": {}})
        entry["registered"].setdefault(kind, []).append(name)
        if plugin is not None:
            entry.update(plugin=plugin.name, digest=plugin.digest, version=plugin.version)
    return known


def why_unknown(recorded: Mapping[str, Any], kind: str, name: str) -> str:
    """Where a name that is not known now came from when a run was recorded; '' if that is unknown.

    Args:
        recorded: what `record` gave then.
        kind: 'model'.
        name: of the model.
    """
    for module, entry in recorded.items():
        if name not in entry.get("registered", {}).get(kind, ()):
            continue
        if plugin := entry.get("plugin"):
            return f"{name!r} is from the plug-in {plugin}: give plugin={plugin}"
        if module == "__main__":
            return (
                f"{name!r} was registered by the script or notebook that trained it: run it first"
            )
        return f"{name!r} was registered by {module}: give plugin={module}"
    return ""


def changes(recorded: Mapping[str, Any]) -> str:
    """What to know of plug-ins that are not as they were when a run was recorded; '' for nothing.

    Args:
        recorded: what `record` gave then.
    """
    now = record()
    changed = [
        entry.get("plugin") or module
        for module, entry in recorded.items()
        if module in now and entry.get("digest") and entry["digest"] != now[module].get("digest")
    ]
    return f"The plug-in {', '.join(changed)} has changed since the checkpoint." if changed else ""


def check_loaded(names: str | Iterable[str], *, what: str) -> None:
    """Refuses to go on without the plug-ins of a run.

    Args:
        names: the plug-ins that it was trained with.
        what: the run, for the message: 'The run in runs/1'.

    Raises:
        PluginError: one of them is not loaded; the message names it.
    """
    missing = [name for name in split(names) if name not in _LOADED and name not in sys.modules]
    if missing:
        raise PluginError(
            f"{what} was trained with the plug-in {', '.join(missing)}, which is not loaded "
            f"unasked: give plugin={','.join(split(names))}."
        )


def _entry_point(name: str) -> importlib.metadata.EntryPoint | None:
    found = [entry for entry in installed() if entry.name == name]
    if len({entry.value for entry in found}) > 1:
        offers = " and ".join(_version(entry) or entry.value for entry in found)
        raise PluginError(
            f"There are several plug-ins {name!r}: of {offers}. Give the module instead: "
            f"{' or '.join(entry.module for entry in found)}."
        )
    return found[0] if found else None


def _check(name: str, entry: importlib.metadata.EntryPoint | None) -> None:
    """Raises PluginError for what is no name of a module, is nowhere, or is two things."""
    is_name = all(part.isidentifier() for part in name.split(".")) and not name.endswith(".py")
    if not is_name and entry is None:
        stem = Path(name).stem
        hint = f" the name of a module, {stem!r}," if stem.isidentifier() else " the name of one"
        raise PluginError(
            f"{name!r} is no name of a module: give{hint} and start in its directory, or have that "
            "directory in PYTHONPATH."
        )
    if entry is not None:
        twin = name.isidentifier() and name != entry.module and importlib.util.find_spec(name)
        if twin:
            raise PluginError(
                f"{name!r} is a plug-in of {_version(entry)} and also a module here "
                f"({twin.origin}): rename that, or give plugin={entry.module}."
            )


def _why(name: str, module: str, error: BaseException) -> str:
    """One line about a plug-in that could not be imported."""
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing is not None and _within(module, missing):
        offers = ", ".join(entry.name for entry in installed())
        offered = f"; installed packages offer {offers}" if offers else ""
        return (
            f"There is no plug-in {name!r}: no module {missing!r} in the current directory "
            f"({os.getcwd()}) or on Python's path{offered}."
        )
    said = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, SystemExit):
        said = f"it ended the program with status {error.code}; guard what is a command of its own"
    elif not isinstance(error, (PluginError, SyntaxError)):
        said = f"{type(error).__name__}: {said}"
    return f"The plug-in {name!r} fails{_place(module, error)}: {said}"


def _place(module: str, error: BaseException) -> str:
    """Where in a plug-in's own file the error arose: ' (my_net.py, line 7)'."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        stem = Path(frame.filename).stem
        if stem in (*module.split(".")[-1:], "__init__") and "importlib" not in frame.filename:
            return f" ({frame.filename}, line {frame.lineno})"
    return ""


@contextlib.contextmanager
def _current_directory() -> Iterator[None]:
    """Within the block modules are looked for in the current directory first; afterwards last."""
    here = os.getcwd()
    if any(os.path.realpath(path or here) == os.path.realpath(here) for path in sys.path):
        yield
        return
    sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(here)
        sys.path.append(
            here
        )  # a plug-in may import a neighbour later, and so may a reading process


def _names() -> set[tuple[str, str]]:
    return {(kind, name) for kind, name, _ in _added()}


def _added() -> Iterator[tuple[str, str, str]]:
    """(kind, name, origin) of everything that is registered and is not ours."""
    for table in registry.tables():
        for name in table:
            origin = table.origin(name)
            if is_added(origin):
                yield table.what, name, origin


def is_added(origin: str) -> bool:
    """Whether a module that registered something is none of this package."""
    return not any(_within(origin, package) for package in OURS)


def _forget(names: set[tuple[str, str]], imported: set[str], module: str) -> None:
    """Undoes what a plug-in did before it failed, so that it can be mended and loaded again."""
    undone = {module}
    for table in registry.tables():
        for name in list(table):
            if (table.what, name) in names:
                undone.add(table.origin(name))
                table.forget(name)
    for each in imported:
        if any(_within(each, one) for one in undone):
            sys.modules.pop(each, None)


def _within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def _version(entry: importlib.metadata.EntryPoint | None) -> str:
    dist = getattr(entry, "dist", None)
    return f"{dist.name} {dist.version}" if dist is not None else ""


def _digest(file: str) -> str:
    """The first 16 digits of the SHA-256 of a module's file, or of all files of a package."""
    if not file:
        return ""
    path = Path(file)
    parts = sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]
    try:
        texts = [part.read_bytes() for part in parts]
    except OSError:
        return ""
    return hashlib.sha256(b"\0".join(texts)).hexdigest()[:16]


def __dir__() -> list[str]:
    return __all__
