"""`chat_template_kwargs` and `reasoning_effort` reach the template, where it reads them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from infra.settings import Settings
from infra.wire import TextAssets
from tests.control_plane.gateway.conftest import MODEL, Gateway, Replica

TEMPLATE = (
    "{{ messages[0].content }}"
    "{% if enable_thinking is defined and not enable_thinking %}!{% endif %}"
    "{% set effort = reasoning_effort or 'none' %}{{ effort }}"
    "{% for each in documents or [] %}{{ each.text }}{% endfor %}"
)
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "x"}]}


@pytest.fixture
async def thinking(settings: Settings, valkey: Redis, assets: TextAssets) -> AsyncIterator[Gateway]:
    gateway = Gateway(settings, valkey, msgspec.structs.replace(assets, chat_template=TEMPLATE))
    await gateway.start()
    await gateway.publish()
    yield gateway
    await gateway.stop()


READ: list[tuple[dict[str, Any], str]] = [
    ({}, "xnone"),
    ({"reasoning_effort": "low"}, "xlow"),
    ({"chat_template_kwargs": {"enable_thinking": False}}, "x!none"),
    ({"chat_template_kwargs": {"enable_thinking": True}}, "xnone"),
    ({"reasoning_effort": "low", "chat_template_kwargs": {"reasoning_effort": "high"}}, "xhigh"),
    ({"chat_template_kwargs": {"documents": [{"text": "doc"}]}}, "xnonedoc"),
    ({"chat_template_kwargs": {"reasoning_effort": 10**30}}, f"x{10**30}"),
]


async def test_a_template_reads_its_arguments(thinking: Gateway, replica: Replica) -> None:
    async with thinking.http() as client:
        for fields, prompt in READ:
            serving = asyncio.create_task(replica.answer("ok"))
            reply = await client.post("/v1/chat/completions", json={**CHAT, **fields})
            assert reply.status_code == 200, reply.text
            [spec] = await serving
            assert spec.prompt == replica.ids(prompt)


async def test_what_a_template_does_not_read_is_refused_with_what_it_reads(
    thinking: Gateway,
) -> None:
    async with thinking.http() as client:
        body = {**CHAT, "chat_template_kwargs": {"enable_thoughts": False}}
        reply = await client.post("/v1/chat/completions", json=body)
    assert reply.status_code == 400
    message = reply.json()["error"]["message"]
    assert "'enable_thoughts'" in message
    assert "it reads documents, enable_thinking, reasoning_effort" in message
    await thinking.settled(accepted=0)


async def test_a_reasoning_effort_without_effect_is_refused(gateway: Gateway) -> None:
    async with gateway.http() as client:
        reply = await client.post("/v1/chat/completions", json={**CHAT, "reasoning_effort": "low"})
    assert reply.status_code == 400
    assert "does not read 'reasoning_effort'" in reply.json()["error"]["message"]
    await gateway.settled(accepted=0)
