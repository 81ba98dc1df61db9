"""Runs a module as `python -m` does where nothing is installed but JAX, Flax, Optax, Abseil, NumPy.

Its folder goes on PYTHONPATH as a `sitecustomize`, so that every process of the command has it.
"""

SITECUSTOMIZE = """
import importlib.abc, sys

# Flax itself imports Rich, which comes with it; so do Orbax and etils, but no line may need them
MISSING = {
    "PIL", "array_record", "chex", "cv2", "datasets", "dm_pix", "etils", "grain", "matplotlib",
    "orbax", "pycocotools", "safetensors", "simplejpeg", "sklearn", "tensorboardX",
    "tensorflow_datasets", "tensorstore", "torch", "torchvision",
}

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r} (a bare machine)", name=name)

sys.meta_path.insert(0, Missing())
"""
