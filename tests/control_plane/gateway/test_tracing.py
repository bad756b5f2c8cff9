"""The spans of a request, and what it costs the loop that serves it."""

from __future__ import annotations

import asyncio
import threading

from tests.control_plane.gateway.conftest import MODEL, Gateway, Replica
from tests.fixtures.spans import SpansSeen
from tests.fixtures.waiting import eventually

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
CALLER = f"00-{TRACE_ID}-b7ad6b7169203331-01"
BODY = {"model": MODEL, "messages": [{"role": "user", "content": "x"}], "stream": True}
ROUTE = "POST /v1/chat/completions"


async def ask(gateway: Gateway, replica: Replica, headers: dict[str, str]) -> str:
    """Stream an answer of three tokens; returns the `traceparent` that came with its job."""
    async with gateway.http() as client:
        serving = asyncio.create_task(replica.answer("abc"))
        reply = await client.post("/v1/chat/completions", json=BODY, headers=headers)
        assert reply.is_success, reply.text
        [spec] = await serving
    return spec.traceparent


async def test_a_request_is_a_span_over_those_of_its_way(
    gateway: Gateway, replica: Replica, spans: SpansSeen
) -> None:
    traceparent = await ask(gateway, replica, {"traceparent": CALLER})

    async def ended() -> bool:
        return any(each.name == ROUTE for each in spans.ended())

    await eventually(ended)
    request = spans.named(ROUTE)
    assert request.parent_id == "b7ad6b7169203331"
    assert traceparent == f"00-{TRACE_ID}-{request.span_id}-01"
    parts = [spans.named(name) for name in ("tokenise", "offer", "deliver")]
    assert {each.trace_id for each in spans.ended()} == {TRACE_ID}
    assert {each.parent_id for each in parts} == {request.span_id}
    # A quick replica answers while the offer is still being acknowledged.
    for times in ([part.began_ns for part in parts], [part.ended_ns for part in parts]):
        assert times == sorted(times)
        assert request.began_ns <= times[0]
        assert times[-1] <= request.ended_ns
    assert spans.named("deliver").about["tamer.replica_id"] == replica.id
    assert len(spans.ended()) == 4  # none of a token


async def test_a_request_nobody_traces_sends_no_context(gateway: Gateway, replica: Replica) -> None:
    assert await ask(gateway, replica, {"traceparent": CALLER}) == ""


async def test_the_next_attempt_of_a_job_belongs_to_the_same_trace(
    gateway: Gateway, replica: Replica, spans: SpansSeen
) -> None:
    async with gateway.http() as client:
        asking = asyncio.create_task(client.post("/v1/chat/completions", json=BODY))
        _, first = await replica.take(ttl_s=0.3)
        serving = asyncio.create_task(replica.answer("abc"))
        await asking
        [second] = await serving
    assert second.traceparent == first.traceparent != ""


async def test_a_request_is_served_without_going_through_a_thread(
    gateway: Gateway, replica: Replica
) -> None:
    """FastAPI sends whatever is not async to one, which costs more than all the rest."""
    before = set(threading.enumerate())
    await ask(gateway, replica, {})
    new = {each.name for each in threading.enumerate() if each not in before}
    assert not [name for name in new if name.startswith("AnyIO")]


async def test_a_caller_that_does_not_sample_leaves_no_spans(
    gateway: Gateway, replica: Replica, spans: SpansSeen
) -> None:
    assert await ask(gateway, replica, {"traceparent": CALLER[:-2] + "00"}) == ""
    assert spans.ended() == []
