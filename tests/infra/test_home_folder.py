"""What settings make of a home folder, and who may look into its folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from infra.private_folder import make_private
from infra.settings import Settings


def test_a_home_is_absolute_and_knows_the_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAMER_HOME", "~/elsewhere")
    assert Settings().home == Path.home() / "elsewhere"
    monkeypatch.setenv("TAMER_HOME", "relative")
    assert Settings().home == Path.cwd() / "relative"


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAMER_HOME", "")
    monkeypatch.setenv("TAMER_PORT", "")
    assert Settings().home == Path.home() / ".tamer"
    assert Settings().port == 8000


def test_sockets_of_a_deep_home_have_a_path_that_the_kernel_takes(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / ("deep" * 40))
    assert len(os.fsencode(settings.cloud_socket)) <= 103
    assert settings.run_dir != Settings(home=tmp_path / ("deeq" * 40)).run_dir


def test_a_private_folder_is_not_taken_from_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    with pytest.raises(PermissionError, match="remove it"):
        make_private(tmp_path / "link")
