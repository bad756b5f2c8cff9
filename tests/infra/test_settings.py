"""Where settings come from and what they make of a home folder."""

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


def test_the_file_in_the_home_gives_way_to_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tamer.toml").write_text("port = 9001\nlease_s = 7.5\n")
    monkeypatch.setenv("TAMER_HOME", str(tmp_path))
    monkeypatch.setenv("TAMER_PORT", "9002")
    assert (Settings().port, Settings().lease_s) == (9002, 7.5)


def test_sockets_of_a_deep_home_have_a_path_that_the_kernel_takes(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / ("deep" * 40))
    assert len(os.fsencode(settings.cloud_socket)) <= 103
    assert settings.run_dir != Settings(home=tmp_path / ("deeq" * 40)).run_dir


def test_a_private_folder_is_not_taken_from_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    with pytest.raises(PermissionError, match="remove it"):
        make_private(tmp_path / "link")
