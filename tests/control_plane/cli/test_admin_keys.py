"""What `tamer up` says of a key that its user gives."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane.cli.api_client import ApiClient
from control_plane.cli.credentials import Credentials
from control_plane.cli.screen import Screen
from control_plane.cli.up.admin_keys import note_older_admin_keys
from tests.control_plane.cli.stub_answers import page
from tests.control_plane.cli.stub_server import StubServer


def key(name: str, revoked_at: float | None = None, scope: str = "admin") -> dict[str, Any]:
    return {"id": f"key-{name}", "name": name, "scopes": [scope], "revoked_at": revoked_at}


async def noted(stub_server: StubServer, *keys: dict[str, Any]) -> None:
    stub_server.on("GET", "/keys", page(*keys))
    async with ApiClient(Credentials(stub_server.url, "given")) as client:
        await note_older_admin_keys(client, Screen())


async def test_an_older_admin_key_that_stays_valid_is_named_with_how_to_end_it(
    stub_server: StubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    await noted(stub_server, key("given"), key("first"))
    said = capsys.readouterr().err
    assert "(given, first)" in said
    assert "tamer keys list" in said and "tamer keys revoke" in said


async def test_revoked_keys_and_those_that_only_infer_are_no_news(
    stub_server: StubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    await noted(stub_server, key("given"), key("first", 1.0), key("app", scope="inference"))
    assert capsys.readouterr().err == ""
