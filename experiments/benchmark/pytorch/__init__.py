"""PyTorch's side of the benchmarks: the module of a benchmark has that benchmark's name."""
