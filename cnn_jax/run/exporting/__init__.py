"""Exports trained networks, to run them without this package: see `export`."""

from cnn_jax.run.exporting.writing import Exported, export, is_complete, open_network

__all__ = ["Exported", "export", "is_complete", "open_network"]
