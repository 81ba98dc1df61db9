"""Our networks against PyTorch's, weight for weight; see `experiments.verify_weights.__main__`."""
