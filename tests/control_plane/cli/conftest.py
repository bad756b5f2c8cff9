"""A stub of the server, for commands that only need its answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.control_plane.cli.stub_server import StubServer


@pytest.fixture
def stub_server() -> Iterator[StubServer]:
    server = StubServer()
    yield server
    server.close()
