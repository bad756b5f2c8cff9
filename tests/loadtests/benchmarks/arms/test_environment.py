"""Environments are made by the real uv, from a wheel that is made here."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest

from loadtests.benchmarks.arms.environment import NotInstalled, environment, python_of


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "peer_of_a_test-1.0-py3-none-any.whl"
    info = "peer_of_a_test-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("peer_of_a_test.py", "SAYS = 'hello'\n")
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: peer-of-a-test\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


def test_an_environment_is_made_once_and_holds_what_is_required(
    tmp_path: Path, wheel: Path
) -> None:
    folder = environment(tmp_path, "peer", [str(wheel)])
    said = subprocess.check_output(
        [python_of(folder), "-c", "import peer_of_a_test; print(peer_of_a_test.SAYS)"], text=True
    )
    assert said == "hello\n"
    wheel.unlink()
    assert environment(tmp_path, "peer", [str(wheel)]) == folder


def test_what_cannot_be_installed_says_why_and_is_tried_again(tmp_path: Path, wheel: Path) -> None:
    body = wheel.read_bytes()
    wheel.unlink()
    with pytest.raises(NotInstalled, match="peer_of_a_test"):
        environment(tmp_path, "peer", [str(wheel)])
    wheel.write_bytes(body)
    assert environment(tmp_path, "peer", [str(wheel)]).exists()
