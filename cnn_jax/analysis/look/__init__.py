"""The data as the network sees them: what `cnn_jax.run.look` finds, as a page, a sheet, JSON."""
