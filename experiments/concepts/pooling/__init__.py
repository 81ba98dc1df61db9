"""Pooling and strides, in space and in time, and what a shift does to each."""
