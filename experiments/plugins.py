"""Lists what can be named by flags, by kind, with the module that it comes from.

    python -m experiments.plugins
    python -m experiments.plugins --kind=loss
    python -m experiments.plugins --plugin=my_module

With --plugin, what a plug-in of yours registers is there too. Plug-ins that installed packages
offer are listed without being imported.
"""

import importlib

import rich.table
from absl import flags

from cnn_jax import plugins, registry
from cnn_jax.printable import PlainConsole
from experiments import entry

KIND = flags.DEFINE_string("kind", "", "Kind to list, such as 'loss' or 'model'; '' for all.")

# What has tables. A network is one of so many that the table of networks is a command of its own.
PACKAGES = (
    "cnn_jax.models",
    "cnn_jax.data",
    "cnn_jax.augment",
    "cnn_jax.losses",
    "cnn_jax.metrics",
    "cnn_jax.train.optim",
    "cnn_jax.run.tasks",
)
MOST = 40


def rows(kind: str) -> list[tuple[str, str, str]]:
    """(kind, name, origin) of everything of a kind; '' for all, with only a count of many."""
    found = []
    for table in registry.tables():
        if not table or (kind and kind not in table.what):
            continue
        origins = {name: table.origin(name) for name in table}
        ours = [name for name, origin in origins.items() if not plugins.is_added(origin)]
        if len(ours) > MOST and not kind:
            found.append(
                (table.what, f"{len(ours)} of cnn_jax, see --kind={table.what}", "cnn_jax")
            )
            origins = {name: origins[name] for name in origins if name not in ours}
        found += [(table.what, name, origin) for name, origin in origins.items()]
    return found


def main() -> int:
    for package in PACKAGES:
        importlib.import_module(package)
    listed = rows(KIND.value)
    if not listed:
        kinds = dict.fromkeys(table.what for table in registry.tables() if table)
        raise ValueError(f"--kind={KIND.value!r} matches no kind; choose from {', '.join(kinds)}.")
    table = rich.table.Table("kind", "name", "from")
    for row in listed:
        table.add_row(*row)
    console = PlainConsole(width=max(entry.CONSOLE.width, 120))
    console.print(table)
    if not KIND.value:
        _print_offered(console)
    return 0


def _print_offered(console: PlainConsole) -> None:
    """Prints the plug-ins of installed packages, and those that were loaded."""
    loaded = {plugin.name: plugin for plugin in plugins.loaded()}
    table = rich.table.Table("plug-in", "module", "from", "registers")
    for offer in plugins.installed():
        if offer.name not in loaded:
            origin = f"{offer.dist.name} {offer.dist.version}" if offer.dist else ""
            table.add_row(offer.name, offer.value, origin, f"not loaded: --plugin={offer.name}")
    for plugin in loaded.values():
        given = [f"{kind} {', '.join(names)}" for kind, names in plugin.registered.items()]
        origin = plugin.version or plugin.file
        table.add_row(plugin.name, plugin.module, origin, "; ".join(given) or "nothing")
    if table.row_count:
        console.print(table)
    else:
        console.print(f"No installed package offers a plug-in (entry points {plugins.GROUP}).")


if __name__ == "__main__":
    entry.launch(main)
