from __future__ import annotations

import httpx

from tests.control_plane.api.conftest import ADMIN_KEY
from tests.fixtures.metric_samples import scraped


async def test_metrics_need_an_admin_key_and_name_routes_by_their_template(
    anonymous: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    await client.get("/replicas/rep-none")
    await anonymous.request("MADE-UP", "/nowhere")
    assert (await anonymous.get("/metrics")).status_code == 401
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    reply = await anonymous.get("/metrics", headers=headers)
    assert reply.status_code == 200
    seen = {
        tuple(dict(labels).get(name) for name in ("method", "route", "status"))
        for name, labels in scraped(reply.text)
        if name == "http_server_request_duration_seconds_count"
    }
    assert ("GET", "/api/v1/replicas/{replica_id}", "404") in seen
    assert ("_OTHER", "unmatched", "404") in seen
    assert "rep-none" not in reply.text
