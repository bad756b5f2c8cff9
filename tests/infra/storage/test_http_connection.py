"""Connections to stores: whoever does not answer is left."""

from __future__ import annotations

import socket

import pytest

from infra.storage import http_connection
from infra.storage.http_connection import BrokenConnection, open_connection


def test_a_store_that_never_answers_a_handshake_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connection, "_CONNECT_LIMIT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(BrokenConnection, match="cannot be reached"):
            open_connection(f"https://127.0.0.1:{port}", 1.0)
