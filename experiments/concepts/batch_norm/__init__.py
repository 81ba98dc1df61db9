"""Batch norm: signals of size one, and what it costs that examples depend on each other."""
