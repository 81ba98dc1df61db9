from pathlib import Path

import pytest
import tensorflow_datasets as tfds


@pytest.fixture(scope="session", autouse=True)
def _default_data_dir(tmp_path_factory):
    """Tests neither see nor touch the user's ~/tensorflow_datasets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path_factory.mktemp("default")))
        yield


@pytest.fixture
def default_data_dir(tmp_path, monkeypatch) -> Path:
    """A directory that is not there yet, in the place of ~/tensorflow_datasets."""
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path / "default"))
    return tmp_path / "default"
