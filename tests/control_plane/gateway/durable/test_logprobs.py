"""A durable answer's log-probabilities: fetched, streamed, and gone on with at another gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from infra.settings import Settings
from infra.wire import FinishReason, TextAssets
from tests.control_plane.gateway.conftest import MODEL, Gateway, Replica
from tests.control_plane.gateway.durable.test_background import events
from tests.control_plane.gateway.test_logprobs import told
from tests.fixtures.waiting import eventually

TEXT = {"model": MODEL, "prompt": "the x", "background": True, "logprobs": 2, "echo": True}


@pytest.fixture
async def second(settings: Settings, valkey: Redis, assets: TextAssets) -> AsyncIterator[Gateway]:
    gateway = Gateway(settings, valkey, assets)
    await gateway.start()
    await gateway.publish()
    yield gateway
    await gateway.stop()


async def test_the_next_gateway_neither_loses_nor_repeats_any(
    gateway: Gateway, second: Gateway, replica: Replica
) -> None:
    ids = replica.ids("abcd st")
    async with gateway.http() as client:
        asked = {**TEXT, "stop": ["d stop"]}
        begun = (await client.post("/v1/completions", json=asked)).json()
    lease, spec = await replica.take()
    prompt = [None, *told(spec.prompt[1:])]
    # "d st" is held back: it may become the stop string.
    await replica.say(lease, 0, ids, logprobs=told(ids), prompt_logprobs=prompt)
    log = gateway.services.durable.log

    async def logged() -> bool:
        entries = await log.all_entries(begun["id"])
        return sum(len(entry.tokens) for _, entry in entries) == len(ids)

    await eventually(logged)
    await gateway.stop()

    again, spec = await replica.take()
    assert spec.delivered == ids
    assert spec.sampling.logprobs == 2
    rest = replica.ids("ay")
    await replica.say(again, len(ids), rest, FinishReason.STOP, logprobs=told(rest))

    async def done() -> dict[str, Any]:
        async with second.http() as client:
            body: dict[str, Any] = (await client.get(f"/v1/completions/{begun['id']}")).json()
        return body if body["status"] == "completed" else {}

    [choice] = (await eventually(done))["choices"]
    assert choice["text"] == "the xabcd stay"
    assert choice["logprobs"]["tokens"] == ["the", " ", "x", *"abcd", " ", *"stay"]
    assert choice["logprobs"]["text_offset"] == [0, 3, *range(4, 14)]
    shown = [None, *(-token / 100 for token in [*spec.prompt[1:], *ids, *rest])]
    assert choice["logprobs"]["token_logprobs"] == shown


async def test_a_resumed_stream_has_them_beside_its_text(
    gateway: Gateway, replica: Replica
) -> None:
    async with gateway.http() as client:
        asked = {"model": MODEL, "messages": [{"role": "user", "content": "x"}], "logprobs": True}
        path = "/v1/chat/completions"
        begun = (await client.post(path, json={**asked, "background": True})).json()
    lease, _ = await replica.take()
    ids = replica.ids("abc")
    await replica.say(lease, 0, ids, FinishReason.STOP, logprobs=told(ids, 0))

    async def ended() -> bool:
        found = await gateway.services.durable.log.find(begun["id"])
        return found is not None and found.status == "completed"

    await eventually(ended)
    chunks = [body["choices"][0] for _, body in await events(gateway, begun["id"])]
    content = [
        each for chunk in chunks if chunk["logprobs"] for each in chunk["logprobs"]["content"]
    ]
    assert [each["token"] for each in content] == ["a", "b", "c"]
    assert [each["logprob"] for each in content] == [-token / 100 for token in ids]


async def test_a_key_does_not_keep_what_is_known_at_the_end_only(gateway: Gateway) -> None:
    async with gateway.http() as client:
        for wrong in ({"best_of": 2}, {"prompt_logprobs": 1}):
            body = {"model": MODEL, "prompt": "x", **wrong}
            reply = await client.post(
                "/v1/completions", json=body, headers={"idempotency-key": "one"}
            )
            assert reply.status_code == 400
            assert reply.json()["error"]["param"] == next(iter(wrong))
    await gateway.settled(accepted=0)
