"""What the system's setting means for an arena."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.loader.large_pages import shared_are_large

CHOICES = ("always", "within_size", "advise", "never", "deny", "force")


@pytest.mark.parametrize("chosen", CHOICES)
def test_arenas_have_large_pages_unless_they_are_refused(tmp_path: Path, chosen: str) -> None:
    setting = tmp_path / "shmem_enabled"
    setting.write_text(" ".join(f"[{each}]" if each == chosen else each for each in CHOICES))
    assert shared_are_large(setting) == (chosen not in ("never", "deny"))


def test_a_system_that_does_not_know_them_has_none(tmp_path: Path) -> None:
    assert not shared_are_large(tmp_path / "missing")
