"""Completions that outlive their connection: fetched, resumed and cancelled by their id."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from infra.wire import FinishReason
from tests.control_plane.gateway.conftest import MODEL, Gateway, Replica
from tests.fixtures.waiting import eventually

CHAT: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "x"}],
    "background": True,
}


async def begin(gateway: Gateway, **changes: Any) -> dict[str, Any]:
    async with gateway.http() as client:
        reply = await client.post("/v1/chat/completions", json={**CHAT, **changes})
    assert reply.status_code == 202, reply.text
    body: dict[str, Any] = reply.json()
    assert reply.headers["location"] == f"/v1/chat/completions/{body['id']}"
    return body


async def retrieve(gateway: Gateway, completion_id: str) -> dict[str, Any]:
    async with gateway.http() as client:
        reply = await client.get(f"/v1/chat/completions/{completion_id}")
    assert reply.status_code == 200, reply.text
    body: dict[str, Any] = reply.json()
    return body


async def has_status(gateway: Gateway, completion_id: str, status: str) -> dict[str, Any]:
    async def said() -> dict[str, Any]:
        body = await retrieve(gateway, completion_id)
        return body if body["status"] == status else {}

    return await eventually(said)


async def events(gateway: Gateway, completion_id: str, after: int = 0) -> list[tuple[int, Any]]:
    """The numbered events of a stream to its end."""
    async with gateway.http() as client:
        path = f"/v1/chat/completions/{completion_id}"
        reply = await client.get(path, params={"stream": True, "starting_after": after})
    assert reply.text.endswith("data: [DONE]\n\n") or '"error"' in reply.text
    found = []
    for event in reply.text.split("\n\n"):
        if event.startswith("id: "):
            number, _, data = event.partition("\n")
            found.append((int(number[4:]), json.loads(data.removeprefix("data: "))))
    return found


def text_of(numbered: list[tuple[int, Any]]) -> str:
    return "".join(body["choices"][0]["delta"].get("content", "") for _, body in numbered)


async def test_a_background_completion_is_fetched_when_it_is_done(
    gateway: Gateway, replica: Replica
) -> None:
    begun = await begin(gateway)
    assert (begun["status"], begun["choices"]) == ("queued", [])
    lease, _ = await replica.take()
    await replica.say(lease, 0, replica.ids("ab"))
    under_way = await has_status(gateway, begun["id"], "in_progress")
    assert under_way["choices"][0]["message"]["content"] == "ab"
    assert under_way["usage"]["completion_tokens"] == 2
    await replica.say(lease, 2, replica.ids("cd"), FinishReason.STOP)
    done = await has_status(gateway, begun["id"], "completed")
    assert done["choices"][0]["message"]["content"] == "abcd"
    assert done["usage"]["completion_tokens"] == 4
    await gateway.settled(accepted=1, completed=1)


async def test_openais_own_client_retrieves_it(gateway: Gateway, replica: Replica) -> None:
    begun = await begin(gateway, n=2)
    await replica.answer("abcd", jobs=2)
    await has_status(gateway, begun["id"], "completed")
    async with gateway.openai() as client:
        done = await client.chat.completions.retrieve(begun["id"])
    assert [choice.message.content for choice in done.choices] == ["abcd", "abcd"]
    assert done.id == begun["id"]


async def test_a_stream_is_resumed_after_the_last_event_seen(
    gateway: Gateway, replica: Replica
) -> None:
    begun = await begin(gateway)
    lease, _ = await replica.take()
    for index, token in enumerate(replica.ids("abcdef")):
        await replica.say(lease, index, [token])
        await eventually(lambda seen=index + 1: _logged(gateway, begun["id"], seen))
    await replica.say(lease, 6, [], FinishReason.STOP)
    whole = await events(gateway, begun["id"])
    assert text_of(whole) == "abcdef"
    for number, _ in whole:
        rest = await events(gateway, begun["id"], number)
        assert rest == [each for each in whole if each[0] > number]
    async with gateway.http() as client:
        reply = await client.get(
            f"/v1/chat/completions/{begun['id']}?stream=true", headers={"last-event-id": "3"}
        )
    numbers = [int(line[4:]) for line in reply.text.splitlines() if line.startswith("id: ")]
    assert numbers == [number for number, _ in whole if number > 3], "as an EventSource asks"


async def _logged(gateway: Gateway, completion_id: str, entries: int) -> bool:
    return len(await gateway.services.durable.log.all_entries(completion_id)) >= entries


async def test_a_reader_hears_what_comes(gateway: Gateway, replica: Replica) -> None:
    begun = await begin(gateway)
    reading = asyncio.create_task(events(gateway, begun["id"]))
    await replica.answer("abcd")
    assert text_of(await reading) == "abcd"


async def test_a_stream_in_the_background_outlives_its_client(
    gateway: Gateway, replica: Replica
) -> None:
    async with (
        gateway.http() as client,
        client.stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}) as reply,
    ):
        completion_id = reply.headers["content-location"].rpartition("/")[2]
    await replica.answer("abcd")
    await has_status(gateway, completion_id, "completed")
    assert text_of(await events(gateway, completion_id)) == "abcd"


async def test_it_is_cancelled_on_demand(gateway: Gateway, replica: Replica) -> None:
    begun = await begin(gateway, n=2)
    lease, _ = await replica.take()
    async with gateway.http() as client:
        path = f"/v1/chat/completions/{begun['id']}/cancel"
        assert (await client.post(path)).status_code == 202
        await replica.told_to_stop(lease)
        cancelled = await has_status(gateway, begun["id"], "cancelled")
        assert cancelled["error"]["code"] == "request_cancelled"
        assert (await client.post(path)).status_code == 200
    await gateway.settled(accepted=2, cancelled=2)


async def test_cancelling_what_is_done_changes_nothing(gateway: Gateway, replica: Replica) -> None:
    begun = await begin(gateway)
    await replica.answer("abcd")
    done = await has_status(gateway, begun["id"], "completed")
    async with gateway.http() as client:
        reply = await client.post(f"/v1/chat/completions/{begun['id']}/cancel")
    assert (reply.status_code, reply.json()) == (200, done)


async def test_the_first_choice_that_fails_ends_the_others(
    gateway: Gateway, replica: Replica
) -> None:
    begun = await begin(gateway, n=2)
    await replica.take()
    second, _ = await replica.take()
    await replica.say(second, 0, [], FinishReason.ERROR, error="no such kernel")
    failed = await has_status(gateway, begun["id"], "failed")
    assert "no such kernel" in failed["error"]["message"]
    [(_, last)] = await events(gateway, begun["id"])
    assert last["error"] == failed["error"]
    await gateway.settled(accepted=2, failed=1, cancelled=1)


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
async def test_a_completion_that_is_not_kept_is_not_found(gateway: Gateway, path: str) -> None:
    async with gateway.http() as client:
        for reply in (
            await client.get(f"/v1/{path}/chatcmpl-nobody"),
            await client.post(f"/v1/{path}/chatcmpl-nobody/cancel"),
        ):
            assert reply.status_code == 404
            assert reply.json()["error"]["code"] == "completion_not_found"


async def test_a_completion_is_its_tenants_alone(gateway: Gateway, replica: Replica) -> None:
    begun = await begin(gateway)
    await replica.answer("abcd")
    path = f"/v1/chat/completions/{begun['id']}"
    async with gateway.http("test_other_tenant_key") as client:
        assert (await client.get(path)).status_code == 404
        assert (await client.get(path, params={"stream": True})).status_code == 404
        assert (await client.post(f"{path}/cancel")).status_code == 404


async def test_stop_strings_hold_across_the_log(gateway: Gateway, replica: Replica) -> None:
    begun = await begin(gateway, stop=["cd"])
    lease, _ = await replica.take()
    for index, token in enumerate(replica.ids("abcde")):
        await replica.say(lease, index, [token])
    done = await has_status(gateway, begun["id"], "completed")
    assert done["choices"][0]["message"]["content"] == "ab"
    assert done["choices"][0]["finish_reason"] == "stop"
    assert done["usage"]["completion_tokens"] == 4
