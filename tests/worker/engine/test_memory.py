"""Available memory is the least of what machine and control group allow."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.host_memory import available_bytes
from worker.engine.base import EngineError
from worker.engine.memory import require_bytes


def test_a_control_group_lowers_what_is_available(tmp_path: Path) -> None:
    free = available_bytes(tmp_path)
    assert free > 0
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("2000\n")
    assert available_bytes(tmp_path) == 3000


def test_a_control_group_without_a_limit_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("2000\n")
    assert available_bytes(tmp_path) > 2000


def test_too_large_a_need_is_said_in_megabytes() -> None:
    with pytest.raises(EngineError, match="the moon needs 1099511627776 MiB"):
        require_bytes(1 << 60, "the moon")
