"""Loaders: each makes an example of fixed shapes from a record, (record, rng) -> arrays by name."""
