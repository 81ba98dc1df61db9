"""What a run keeps of its plug-ins, and what is said where they are missing or have changed."""

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from cnn_jax.plugins.loading import PluginError, loaded, split
from cnn_jax.plugins.registrations import added


def record() -> dict[str, Any]:
    """What is registered beside our own, by the module it came from: JSON, for a run to keep.

    {'my_net': {'registered': {'model': ['my_net']}, 'plugin': 'my_net', 'digest': '0f3c...'}}
    """
    known: dict[str, dict[str, Any]] = {}
    for kind, name, origin in added():
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
    known = {plugin.name for plugin in loaded()}
    missing = [name for name in split(names) if name not in known and name not in sys.modules]
    if missing:
        raise PluginError(
            f"{what} was trained with the plug-in {', '.join(missing)}, which is not loaded "
            f"unasked: give plugin={','.join(split(names))}."
        )
