"""Writes torchvision.json: `python -m tests.weights.golden.regenerate` in the repository's root.

With a shell pattern of names it replaces those entries only. It is independent of our networks: it
knows torchvision's, their tensor names, and the formula.
"""

import datetime
import fnmatch
import json
import re
import sys
import warnings

import numpy as np
import torch
import torchvision

from tests.weights import formula, golden

SKIPPED = r"vit|swin|maxvit|mvit|quantized"


def names() -> list[str]:
    """torchvision's convolutional classifiers, of pictures and of clips."""
    modules = (torchvision.models, torchvision.models.video)
    found = {name for module in modules for name in torchvision.models.list_models(module=module)}
    return sorted(name for name in found if not re.search(SKIPPED, name))


def build(name: str) -> torch.nn.Module:
    options = {}
    if name in ("googlenet", "inception_v3"):
        options = {"init_weights": False, "aux_logits": name == "inception_v3"}
    # Without memory no time goes into values that are replaced; RegNet computes its widths there.
    device = "cpu" if name.startswith("regnet") else "meta"
    with warnings.catch_warnings(), torch.device(device):
        warnings.simplefilter("ignore")
        network = torchvision.models.get_model(name, weights=None, **options)
    return network.to_empty(device="cpu") if device == "meta" else network


def fill(network: torch.nn.Module, exponents: dict[str, int], only: str = "") -> None:
    """Gives the tensors whose names contain `only` the formula's values."""
    state = {
        name: tensor
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point() and only in name
    }
    values = formula.state_dict({k: tuple(v.shape) for k, v in state.items()}, exponents)
    for name, tensor in state.items():
        tensor.copy_(torch.from_numpy(values[name]))


def measure_exponents(network: torch.nn.Module, x: torch.Tensor) -> dict[str, int]:
    """4 log2 of what each normalisation finds its input's variance to be, on the way through."""
    exponents, hooks = {}, []

    def measure(name: str):
        def hook(module, inputs):
            variance = inputs[0].transpose(0, 1).flatten(1).var(1, unbiased=False).mean().item()
            exponents[name] = max(round(4 * np.log2(max(variance, 1e-12))), -80)

        return hook

    for name, module in network.named_modules():
        if "BatchNorm" in type(module).__name__:
            hooks.append(module.register_forward_pre_hook(measure(name)))
        if "Dropout" in type(module).__name__:
            module.p = 0.0
        if type(module).__name__ == "StochasticDepth":
            module.p = 0.0
    if hasattr(network, "AuxLogits"):  # for larger pictures, and not part of evaluation
        network.AuxLogits = None
    with torch.no_grad():
        network.train()(x)  # normalised by the batch itself, whatever the running statistics
    for hook in hooks:
        hook.remove()
    return exponents


def main(pattern: str = "*") -> None:
    torch.set_grad_enabled(False)
    provenance = {
        "command": "python -m tests.weights.golden.regenerate",
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "numpy": np.__version__,
        "date": str(datetime.date.today()),
    }
    models = golden.read()["models"] if golden.PATH.exists() else {}
    for name in fnmatch.filter(names(), pattern):
        size = golden.SIZES.get(name, (64, 64))
        x = torch.from_numpy(np.moveaxis(formula.image(size), -1, 1).copy())
        network = build(name)
        fill(network, {})
        params = sum(p.numel() for p in network.parameters())
        exponents = measure_exponents(network, x)
        fill(network, exponents, only="running_")
        rounded = network.eval()(x).numpy()
        logits = network.double()(x.double()).numpy()
        effect = float(np.abs(logits[0] - logits[1]).max() / np.abs(logits).max())
        models[name] = {
            "size": list(size),
            "params": params,
            "classes": logits.shape[1],
            "scale": float(np.abs(logits).max()),
            "rounding": float(f"{np.abs(rounded - logits).max() / np.abs(logits).max():.2g}"),
            "logits": [[float(f"{v:.9g}") for v in row] for row in golden.pick(logits)],
            "exponents": " ".join(f"{k}={v}" for k, v in exponents.items() if v),
        }
        print(
            f"{name:24} scale {models[name]['scale']:.3g}  effect of the image {effect:.1e}"
            f"  rounding {models[name]['rounding']:.1e}",
            flush=True,
        )
        text = {"provenance": provenance, "models": dict(sorted(models.items()))}
        golden.PATH.write_text(json.dumps(text, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
