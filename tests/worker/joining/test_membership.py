"""What a machine keeps of the control planes that it joined."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from worker.joining.membership import AlreadyRuns, alone, last_url, membership_of, remember

ONE, OTHER = "https://one.example", "https://other.example"


def test_a_credential_is_made_once_for_each_control_plane(tmp_path: Path) -> None:
    first = membership_of(ONE, tmp_path)
    assert membership_of(ONE, tmp_path) == first
    assert membership_of(OTHER, tmp_path).credential != first.credential
    assert len(first.credential) >= 32


def test_a_machine_goes_back_to_where_it_was_let_in_last(tmp_path: Path) -> None:
    assert last_url(tmp_path) == ""
    for age_s, url in ((20, ONE), (10, OTHER)):
        membership_of(url, tmp_path)
        remember(url, tmp_path)
        newest = max(tmp_path.glob("*.joined"), key=lambda each: each.stat().st_mtime)
        os.utime(newest, (newest.stat().st_mtime - age_s,) * 2)
    assert last_url(tmp_path) == OTHER
    membership_of("https://mistyped.example", tmp_path)
    assert last_url(tmp_path) == OTHER, "nobody let us in there"
    remember(ONE, tmp_path)
    assert last_url(tmp_path) == ONE


def test_nobody_else_may_read_it_and_a_damaged_one_is_made_anew(tmp_path: Path) -> None:
    first = membership_of(ONE, tmp_path)
    [file] = tmp_path.glob("*.json")
    assert file.stat().st_mode & 0o077 == 0
    file.write_text("{")
    assert membership_of(ONE, tmp_path).credential != first.credential


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(AlreadyRuns, match="TAMER_HOME"), alone(tmp_path):
        pass
    with alone(tmp_path):
        pass
