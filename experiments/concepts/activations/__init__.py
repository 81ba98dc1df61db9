"""Activation functions: what a network cannot do without one, and how units die."""
