"""Plug-ins: a user's own modules that register models, readers, losses and the like.

# my_net.py, in the current directory or on Python's path
cnn_jax.models.register(MyNet, {"my_net": cnn_jax.models.row()}, input_shape=(8, 8, 1))

plugins.load("my_net")  # imports it once; create("my_net", num_classes=10) knows it now

An installed package may offer one under a name of its own, as an entry point of the group
`cnn_jax.plugins`. Nothing is ever loaded unasked, not even to open a run that was trained with it:
a module can do anything, and a run must be repeatable from its settings, which name its plug-ins.
"""

from cnn_jax.plugins.loading import (
    GROUP,
    Plugin,
    PluginError,
    installed,
    load,
    load_all,
    loaded,
    split,
    to_text,
)
from cnn_jax.plugins.records import changes, check_loaded, record, why_unknown
from cnn_jax.plugins.registrations import is_added

__all__ = [
    "GROUP",
    "Plugin",
    "PluginError",
    "changes",
    "check_loaded",
    "installed",
    "is_added",
    "load",
    "load_all",
    "loaded",
    "record",
    "split",
    "to_text",
    "why_unknown",
]


def __dir__() -> list[str]:
    return __all__
