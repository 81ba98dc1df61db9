"""Readers: each opens the data sets of one kind; `cnn_jax.data.opening` knows them by name."""
