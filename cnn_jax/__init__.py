"""Convolutional networks in JAX and Flax. Importing this touches no device and loads nothing."""

__version__ = "0.1.0"
