"""Settings come from the environment over a file over defaults, and are documented."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.settings import Settings, document, without_secrets
from infra.settings_file import SettingsFileError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAMER_HOME", str(tmp_path))
    return tmp_path


def test_the_document_tells_every_setting_as_the_code_has_it() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text() == document(), "run 'make docs'"


def test_the_environment_wins_over_the_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "tamer.toml").write_text("port = 1234\nlease_s = 9.0\n")
    monkeypatch.setenv("TAMER_PORT", "4321")
    settings = Settings()
    assert (settings.port, settings.lease_s) == (4321, 9.0)


def test_all_local_state_lies_in_the_home_folder(home: Path) -> None:
    settings = Settings()
    assert settings.home == home
    for place in (settings.database, settings.storage):
        assert str(home) in place


def test_a_value_of_the_wrong_kind_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAMER_PORT", "eight thousand")
    with pytest.raises(ValueError, match="port"):
        Settings()


def test_secrets_stay_out_of_an_environment_for_strangers() -> None:
    names = (
        "HF_TOKEN",
        "TAMER_HF_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "PATH",
        "TAMER_PORT",
        "TAMER_ADMIN_KEY",
        "TAMER_SECRET_KEY",
        "TAMER_JOIN_TOKEN",
    )
    assert sorted(without_secrets(dict.fromkeys(names, "x"))) == ["PATH", "TAMER_PORT"]


def test_a_broken_file_is_refused_with_its_line(home: Path) -> None:
    (home / "tamer.toml").write_text("port = 1234\nlease_s = = 9\n")
    with pytest.raises(SettingsFileError, match=r"tamer\.toml: .*at line 2"):
        Settings()


def test_an_unknown_key_of_the_file_is_refused_with_the_nearest_name(home: Path) -> None:
    (home / "tamer.toml").write_text("lease = 9.0\n")
    with pytest.raises(SettingsFileError, match="'lease' is no setting; did you mean 'lease_s'"):
        Settings()


def test_a_log_level_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAMER_LOG_LEVEL", "loud")
    with pytest.raises(ValueError, match="debug, info, warning or error"):
        Settings()


def test_two_zones_have_two_subnets() -> None:
    """EC2 would refuse a fleet over both: a subnet is in one zone, and each pool is named once."""
    with pytest.raises(ValueError, match="subnet-1 is in one zone"):
        Settings(aws_subnets="us-east-1a=subnet-1,us-east-1b=subnet-1")
