"""Kernels of earlier sources are removed, but never under a process that uses them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from worker.kernels.native import toolchain
from worker.kernels.native.old_kernels import PREFIX, hold, remove_old

_DAY_S = 86_400.0
_HOLD = (
    "import sys\nfrom pathlib import Path\nfrom worker.kernels.native.old_kernels import hold\n"
    "print(hold(Path(sys.argv[1])), flush=True)\nsys.stdin.read()\n"
)


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Of six sources, each used ten days before the next; the last one today."""
    made = [tmp_path / f"{PREFIX}{number}" for number in range(6)]
    for days, folder in zip(range(50, -1, -10), made, strict=True):
        folder.mkdir()
        (folder / "kernel.nbi").touch()
        _age(folder, days)
    (tmp_path / "benchmarks").mkdir()
    return made


def _age(folder: Path, days: int) -> None:
    then = time.time() - days * _DAY_S
    os.utime(folder, (then, then))


def _left(folders: list[Path]) -> list[int]:
    return [number for number, each in enumerate(folders) if each.exists()]


def test_the_newest_stay_and_what_is_unused_for_days_goes(
    folders: list[Path], tmp_path: Path
) -> None:
    remove_old(tmp_path)
    assert _left(folders) == [3, 4, 5]
    assert len(list(tmp_path.iterdir())) == 4


def test_what_was_used_this_week_stays(folders: list[Path], tmp_path: Path) -> None:
    for folder in folders:
        _age(folder, 6)
    remove_old(tmp_path)
    assert _left(folders) == [0, 1, 2, 3, 4, 5]


def test_what_a_process_holds_stays_until_it_ends(folders: list[Path], tmp_path: Path) -> None:
    command = [sys.executable, "-c", _HOLD, str(folders[0])]
    holder = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_with_this_tree()
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"True\n"
        _age(folders[0], 50)
        remove_old(tmp_path)
        assert _left(folders) == [0, 3, 4, 5]
        holder.kill()
    remove_old(tmp_path)
    assert _left(folders) == [3, 4, 5]


def _with_this_tree() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def test_what_is_used_again_counts_as_new(folders: list[Path], tmp_path: Path) -> None:
    assert hold(folders[1])
    remove_old(tmp_path)
    assert _left(folders) == [1, 4, 5]


def test_a_folder_that_is_gone_cannot_be_held(tmp_path: Path) -> None:
    assert not hold(tmp_path / f"{PREFIX}gone")


def test_a_named_folder_holds_the_kernels_and_loses_its_old_ones(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAMER_CACHE_DIR", str(tmp_path))
    folder = toolchain._cache_folder.__wrapped__()
    assert folder is not None
    assert folder.parent == tmp_path
    assert _left(folders) == [4, 5]
