"""Whatever is sent to `/v1`, it answers as its OpenAPI document says, and never with a 5xx."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.control_plane.gateway.conftest import KEY, MODEL, Gateway, Replica
from tests.fixtures.schemathesis import fuzz

_TEXT = {"type": "string", "minLength": 1}
_TOKEN = {"type": "integer", "minimum": 0, "maximum": 299}


def _some(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": items}


_RUNS: dict[str, Any] = {
    "model": {"enum": [MODEL]},
    "prompt": {"anyOf": [_TEXT, _some(_TEXT), _some(_TOKEN), _some(_some(_TOKEN))]},
}


async def test_every_answer_is_one_that_the_document_describes(
    gateway: Gateway, replica: Replica, tmp_path: Path
) -> None:
    async with gateway.http() as client:
        document = (await client.get("/v1/openapi.json")).json()
    _narrow(document)
    serving = asyncio.create_task(replica.serve("ok"))
    renewing = asyncio.create_task(_keep_renewing(gateway))
    try:
        await fuzz(document, gateway.url, KEY, tmp_path, examples=5)
    finally:
        serving.cancel()
        renewing.cancel()
    balance = await gateway.queue.balance()
    assert balance.completed > 0, "nothing was valid enough to be run"
    assert balance.holds
    await gateway.settled(failed=0, expired=0)


async def _keep_renewing(gateway: Gateway) -> None:
    """As a controller does: on a slow machine this takes longer than a projection may be old."""
    while True:
        await gateway.announce()
        await asyncio.sleep(gateway.settings.projection_max_age_s / 4)


def _narrow(schema: Any) -> None:
    """Let what is valid be run as well: a name of a model that exists, prompts that have tokens."""
    if isinstance(schema, list):
        for each in schema:
            _narrow(each)
    elif isinstance(schema, dict):
        properties = schema.get("properties")
        if isinstance(properties, dict):
            properties.update({name: _RUNS[name] for name in _RUNS.keys() & properties.keys()})
        for each in schema.values():
            _narrow(each)
