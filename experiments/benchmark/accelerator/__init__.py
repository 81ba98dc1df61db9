"""Everything that is claimed of GPUs and TPUs, measured by one command of under ten minutes.

    python -m experiments.benchmark.accelerator --platform=gpu --workdir=DIR

It needs JAX, Flax, Optax, Abseil and NumPy, and PyTorch with torchvision for PyTorch's rows; no
installation of this package.
"""
