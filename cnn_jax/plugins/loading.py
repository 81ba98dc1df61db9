"""Loading plug-ins."""

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

from cnn_jax.plugins.registrations import added, added_names, forget, within

GROUP = "cnn_jax.plugins"  # of entry points

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
    before, imported = added_names(), set(sys.modules)
    with _current_directory():
        try:
            _check(name, entry)
            module = importlib.import_module(module_name)
            if entry is not None and entry.attr and callable(offered := entry.load()):
                offered()
        except PluginError:
            raise
        except (Exception, SystemExit) as error:
            forget(added_names() - before, set(sys.modules) - imported, module_name)
            raise PluginError(_why(name, module_name, error)) from error
    file = getattr(module, "__file__", None) or ""
    registered: dict[str, list[str]] = {}
    for kind, each, origin in added():
        if within(origin, module_name) or (kind, each) not in before:
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
    """Loads several plug-ins, in this order: 'my_net,my_losses'.

    Raises:
        PluginError: see `load`; or these are no names.
    """
    try:
        split(names)
    except (TypeError, AttributeError):
        raise PluginError(
            f"plugin={names!r}: wanted names of modules, such as 'my_net,my_losses'."
        ) from None
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
    if missing is not None and within(module, missing):
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
