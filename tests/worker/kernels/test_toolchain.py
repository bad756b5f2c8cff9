"""Compiled kernels are kept where only we can write, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.kernels.native import toolchain


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    toolchain._cache_folder.cache_clear()
    yield
    toolchain._cache_folder.cache_clear()


def test_kernels_are_kept_in_the_users_cache_by_their_source(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = toolchain._cache_folder()
    assert folder is not None
    assert folder.parent == tmp_path / "tamer"
    assert toolchain._source_digest() in folder.name


def test_a_home_that_cannot_be_written_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "home").write_text("a file, not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(toolchain.tempfile, "gettempdir", lambda: str(tmp_path))
    folder = toolchain._cache_folder()
    assert folder is not None
    assert tmp_path in folder.parents


def test_a_folder_that_others_may_write_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for home in (tmp_path / "home" / "tamer", tmp_path / "temporary"):
        home.mkdir(parents=True)
    (tmp_path / "home" / "tamer").chmod(0o777)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(toolchain.tempfile, "gettempdir", lambda: "/proc")
    assert toolchain._cache_folder() is None
