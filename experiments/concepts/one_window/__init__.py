"""One window by hand: nine products and a sum, against JAX's convolution."""
