"""What a convolution is for: one short experiment per idea. See `__main__`."""
