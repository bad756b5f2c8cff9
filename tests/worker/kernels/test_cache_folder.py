"""Compiled kernels are code: they are kept where nobody else can put his own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.kernels.native import toolchain
from worker.kernels.native.toolchain import owned_folder


@pytest.fixture(autouse=True)
def generous_umask() -> Iterator[None]:
    """As of users whose group is their own: what they make, the group may write."""
    before = os.umask(0o002)
    yield
    os.umask(before)


@pytest.fixture
def safe(tmp_path: Path) -> Path:
    folder = tmp_path / "safe"
    folder.mkdir(mode=0o700)
    folder.chmod(0o700)
    return folder


def test_a_folder_is_made_that_nobody_else_may_write(safe: Path) -> None:
    found = owned_folder(safe / "tamer" / "kernels")
    assert found == safe / "tamer" / "kernels"
    assert [each.stat().st_mode & 0o777 for each in (found, found.parent)] == [0o700, 0o700]


@pytest.mark.parametrize("level", ["kernels", "tamer", "home"])
def test_a_folder_that_others_could_write_or_replace_is_not_used(safe: Path, level: str) -> None:
    folder = safe / "home" / "tamer" / "kernels"
    folder.mkdir(parents=True)
    for each in (folder, folder.parent, folder.parent.parent):
        each.chmod(0o777 if each.name == level else 0o700)
    assert owned_folder(folder) is None


def test_a_sticky_folder_of_everybody_may_hold_it(safe: Path) -> None:
    shared = safe / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)
    assert owned_folder(shared / "tamer-1" / "kernels") is not None


def test_a_link_is_followed_once_and_never_again(safe: Path) -> None:
    real, link = safe / "real", safe / "link"
    real.mkdir(mode=0o700)
    real.chmod(0o700)
    link.symlink_to(real)
    assert owned_folder(link / "kernels") == real / "kernels"


def test_a_folder_that_cannot_be_made_is_not_used(safe: Path) -> None:
    (safe / "file").touch()
    assert owned_folder(safe / "file" / "kernels") is None


def test_a_user_without_a_home_has_one_among_temporary_files(
    safe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(uid: int) -> None:
        raise KeyError(uid)

    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(safe))
    folder = toolchain._cache_folder.__wrapped__()
    assert folder is not None
    assert folder.parent == safe / f"tamer-{os.getuid()}"
