"""A directory of one's own among everybody's."""

import os
import stat
from pathlib import Path

import pytest

from cnn_jax import scratch


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_it_is_the_same_and_nobody_elses(temporary):
    place = scratch.directory()
    assert place.parent == temporary
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert scratch.directory() == place


@pytest.mark.parametrize("laid", ["open", "link", "file"])
def test_what_others_may_have_laid_there_is_not_used(temporary, laid):
    place = scratch.directory()
    place.rmdir()
    if laid == "open":
        place.mkdir()
        place.chmod(0o777)
    elif laid == "link":
        (temporary / "theirs").mkdir(mode=0o700)
        place.symlink_to(temporary / "theirs")
    else:
        place.touch()
    other = scratch.directory()
    assert other != place
    assert stat.S_IMODE(other.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")
def test_another_users_directory_is_not_used(temporary):
    place = scratch.directory()
    os.chown(place, 12345, 12345)
    assert scratch.directory() != place


def test_a_cache_is_at_home_or_among_ones_own(temporary, monkeypatch):
    own = scratch.directory()
    monkeypatch.setenv("HOME", "/home/someone")
    for named, expected in (("", "/home/someone/.cache"), ("/c", "/c"), ("~/c", "/home/someone/c")):
        monkeypatch.setenv("XDG_CACHE_HOME", named)
        assert list(scratch.caches()) == [Path(expected) / "cnn_jax", own]
    monkeypatch.setenv("XDG_CACHE_HOME", "here/or/there")  # to be ignored, says its specification
    assert next(iter(scratch.caches())) == Path("/home/someone/.cache/cnn_jax")


def test_a_cache_where_nobody_knows_of_a_home(temporary, monkeypatch):
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**30 + 7)  # not in /etc/passwd
    (only,) = scratch.caches()
    assert only.parent == temporary
    monkeypatch.setattr("tempfile.tempdir", "/proc/none")
    assert not list(scratch.caches())
