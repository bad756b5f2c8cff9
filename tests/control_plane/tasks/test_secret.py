"""The secret of the control plane and the tokens that come from it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from pydantic import SecretStr

from control_plane.tasks.secret import SecretUnreadable, control_plane_secret, join_token
from infra.settings import Settings


def test_a_token_is_the_same_each_time_and_another_for_each_instance() -> None:
    assert join_token(b"secret", "ins-1") == join_token(b"secret", "ins-1")
    assert len({join_token(key, id) for key in (b"a", b"b") for id in ("ins-1", "ins-2")}) == 4


def test_the_secret_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    secret = control_plane_secret(settings)
    assert len(secret) == 64
    assert control_plane_secret(settings) == secret
    [file] = settings.home.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_given_secret_goes_before_the_file(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, secret_key=SecretStr("given"))
    assert control_plane_secret(settings) == b"given"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("content", "mode"), [("", 0o600), ("secret", 0o644)])
def test_a_secret_that_others_read_or_that_is_empty_is_refused(
    tmp_path: Path, content: str, mode: int
) -> None:
    file = tmp_path / "secret.key"
    file.write_text(content)
    file.chmod(mode)
    with pytest.raises(SecretUnreadable, match="remove it"):
        control_plane_secret(Settings(home=tmp_path))
