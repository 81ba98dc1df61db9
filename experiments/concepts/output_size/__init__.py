"""Padding, stride and channels: the size that comes out, its cost, and what a border gives away."""
