"""The first model of `tamer up` against a server."""

from __future__ import annotations

import pytest

from control_plane.cli.api_client import ApiClient
from control_plane.cli.credentials import Credentials
from control_plane.cli.screen import Screen
from control_plane.cli.up.first_run import MODEL, serve_first_model
from tests.control_plane.cli.stub_answers import SPEC, deployment, events, page, replica
from tests.control_plane.cli.stub_server import StubServer


@pytest.mark.parametrize(("keep", "least", "state"), [(True, 1, "ready"), (False, 0, "idle")])
async def test_it_keeps_a_machine_only_where_that_costs_nothing(
    stub_server: StubServer, keep: bool, least: int, state: str
) -> None:
    scaling = {"min_replicas": least, "max_replicas": 1}
    made = deployment(state, name=MODEL, spec={**SPEC, "scaling": scaling})
    unknown = (404, {"detail": "there is none"})
    stub_server.on("GET", f"/deployments/{MODEL}", unknown, (200, made))
    stub_server.on("GET", f"/deployments/{MODEL}/replicas", page(replica()))
    stub_server.on("GET", f"/models/{MODEL}", (200, {"state": "ready"}))
    stub_server.on("PUT", f"/deployments/{MODEL}", (201, {"deployment": made}))
    stub_server.on("POST", "/v1/chat/completions", (200, events() + b"data: [DONE]\n\n"))
    async with ApiClient(Credentials(stub_server.url, "tamer_key")) as client:
        await serve_first_model(client, Screen(as_json=False), keep=keep)
    [spec] = [body for method, _, _, body in stub_server.requests if method == "PUT"]
    assert spec["scaling"] == scaling
