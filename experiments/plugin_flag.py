"""--plugin: a user's own modules, which every command takes."""

import sys
from collections.abc import Sequence

from absl import flags

from cnn_jax import plugins

PLUGIN = flags.DEFINE_multi_string(
    "plugin",
    [],
    "Plug-in to load: a module of yours, in the current directory or on Python's path, that "
    "registers networks, losses and the like; or the name that an installed package gives one. May "
    "be repeated. python -m experiments.plugins lists what there is",
)


def given(name: str, argv: Sequence[str] = ()) -> list[str]:
    """The values of a flag on the command line and in its flagfiles, before any flag is parsed.

    Args:
        name: of the flag.
        argv: the command line; by default that of this process.
    """
    values = flags.FlagValues()
    values.set_gnu_getopt(True)  # flags may follow what is none
    flags.DEFINE_multi_string(name, [], "", flag_values=values)
    try:
        values(list(argv or sys.argv), known_only=True)
    except flags.Error:  # which parsing all flags will tell
        return []
    return list(values[name].value or [])


def load() -> None:
    """Loads the plug-ins of the command line: what they register can then be named by flags."""
    plugins.load_all(given("plugin"))
