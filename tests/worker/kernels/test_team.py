"""Kernels share torch's threads, or say that they cannot."""

from __future__ import annotations

from ctypes import CDLL

import pytest

from tests.fixtures.requirements import imported


def test_without_openmp_it_says_once_that_kernels_run_on_one_thread(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    imported("numba")
    from worker.kernels.native import team

    def missing(name: str, **_: object) -> CDLL:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(team.ctypes, "CDLL", missing)
    team._parallel.cache_clear()
    try:
        assert [team._parallel() for _ in range(3)] == [None] * 3
    finally:
        team._parallel.cache_clear()
    [warning] = caplog.records
    assert "one thread" in warning.getMessage()
    assert "libgomp.so.1" in warning.getMessage()
