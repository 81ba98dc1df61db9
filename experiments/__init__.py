"""Experiments: the entry points, and the only place with flags."""
