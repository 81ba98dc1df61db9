"""Exports trained networks, to run them without this package: see `export`."""

from cnn_jax.run.exporting.writing import Exported, export, open_network

__all__ = ["Exported", "export", "open_network"]
