"""A stub of the server, for commands that only need its answers, and the command itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from control_plane.cli.main import run
from tests.control_plane.cli.stub_answers import Tamer
from tests.control_plane.cli.stub_server import StubServer


@pytest.fixture
def stub_server() -> Iterator[StubServer]:
    server = StubServer()
    yield server
    server.close()


@pytest.fixture
def tamer(
    stub_server: StubServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Tamer:
    for name in [each for each in os.environ if each.startswith("TAMER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TAMER_HOME", str(tmp_path))
    monkeypatch.setenv("TAMER_URL", stub_server.url)
    monkeypatch.setenv("TAMER_API_KEY", "tamer_key")

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(arguments)
        said = capsys.readouterr()
        return code, said.out, said.err

    return call
