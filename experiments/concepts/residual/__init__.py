"""Residual connections: a sum in the place of a product."""
