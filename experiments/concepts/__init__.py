"""What a convolution is for: one short experiment for each idea. See `__main__`."""
