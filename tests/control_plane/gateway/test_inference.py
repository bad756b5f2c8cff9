"""The official client against a gateway on a real port; the replica is real but for its model."""

from __future__ import annotations

import asyncio

import openai
import pytest

from infra.wire import FinishReason
from tests.control_plane.gateway.conftest import CONTEXT_TOKENS, MODEL, REVISION, Gateway, Replica

TEXT = "Paris is the capital — déjà vu 🙂."


async def test_chat_answers_whole(gateway: Gateway, replica: Replica) -> None:
    serving = asyncio.create_task(replica.answer(TEXT))
    async with gateway.openai() as client:
        reply = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Capital of France?"}], seed=7
        )
    [spec] = await serving
    assert reply.choices[0].message.content == TEXT
    assert reply.choices[0].message.role == "assistant"
    assert reply.choices[0].finish_reason == "stop"
    assert reply.object == "chat.completion"
    assert reply.id.startswith("chatcmpl-")
    assert reply.model == MODEL
    assert reply.system_fingerprint == REVISION
    prompt = "<|start|>user\nCapital of France?<|end|>\n<|start|>assistant\n"
    assert spec.prompt == replica.ids(prompt)
    assert spec.sampling.seed == 7
    assert spec.sampling.max_tokens == CONTEXT_TOKENS - len(spec.prompt)
    assert spec.sampling.stop_token_ids == (replica.ids("<|end|>")[0],)
    assert reply.usage is not None
    assert reply.usage.prompt_tokens == len(spec.prompt)
    assert reply.usage.completion_tokens == len(replica.ids(TEXT))
    assert reply.usage.total_tokens == len(spec.prompt) + len(replica.ids(TEXT))
    await gateway.settled(accepted=1, completed=1)


async def test_chat_streams_with_usage(gateway: Gateway, replica: Replica) -> None:
    serving = asyncio.create_task(replica.answer(TEXT))
    async with gateway.openai() as client:
        stream = await client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
    await serving
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == TEXT
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == len(replica.ids(TEXT))
    assert len({chunk.id for chunk in chunks}) == 1
    assert all("\ufffd" not in (c.choices[0].delta.content or "") for c in chunks if c.choices)


async def test_completions_answer_whole_and_streaming(gateway: Gateway, replica: Replica) -> None:
    async with gateway.openai() as client:
        serving = asyncio.create_task(replica.answer("abcdef"))
        whole = await client.completions.create(model=MODEL, prompt="the", max_tokens=3)
        [spec] = await serving
        assert spec.prompt == replica.ids("the")
        assert whole.choices[0].text == "abc"
        assert whole.choices[0].finish_reason == "length"
        assert whole.object == "text_completion"
        assert whole.id.startswith("cmpl-")
        serving = asyncio.create_task(replica.answer("xyz"))
        stream = await client.completions.create(model=MODEL, prompt=[1, 2, 3], stream=True)
        chunks = [chunk async for chunk in stream]
        [spec] = await serving
        assert spec.prompt == [1, 2, 3]
        assert spec.sampling.max_tokens == 16
        assert "".join(chunk.choices[0].text for chunk in chunks) == "xyz"


async def test_each_choice_of_each_prompt_is_a_job(gateway: Gateway, replica: Replica) -> None:
    async with gateway.openai() as client:
        serving = asyncio.create_task(replica.answer("ok", jobs=6))
        reply = await client.completions.create(
            model=MODEL, prompt=["a", "b", "c"], n=2, seed=1, max_tokens=2
        )
        specs = await serving
    assert [choice.index for choice in reply.choices] == list(range(6))
    assert {choice.text for choice in reply.choices} == {"ok"}
    assert sorted(spec.choice for spec in specs) == list(range(6))
    assert {spec.sampling.seed for spec in specs} == {1}
    assert reply.usage is not None
    assert reply.usage.prompt_tokens == 3
    assert reply.usage.completion_tokens == 12
    await gateway.settled(accepted=6, completed=6)


async def test_choices_stream_side_by_side(gateway: Gateway, replica: Replica) -> None:
    async with gateway.openai() as client:
        stream = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "x"}], n=2, stream=True
        )
        first, _ = await replica.take()
        second, spec = await replica.take()
        late, early = (first, second) if spec.choice == 1 else (second, first)
        await replica.say(early, 0, replica.ids("one"))
        await replica.say(late, 0, replica.ids("two"), FinishReason.STOP)
        await replica.say(early, 3, replica.ids("!"), FinishReason.STOP)
        texts = {0: "", 1: ""}
        async for chunk in stream:
            texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert texts == {0: "two", 1: "one!"}


async def test_a_stop_string_within_min_tokens_does_not_stop(
    gateway: Gateway, replica: Replica
) -> None:
    async with gateway.openai() as client:
        asking = asyncio.create_task(_text(client, False, ["b"], min_tokens=2))
        lease, _ = await replica.take()
        await replica.say(lease, 0, replica.ids("abcb"))
        assert await asking == ("abc", "stop")
    await gateway.settled(accepted=1, completed=1)


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_stop_string_cuts_the_text_and_stops_the_job(
    gateway: Gateway, replica: Replica, streaming: bool
) -> None:
    async with gateway.openai() as client:
        asking = asyncio.create_task(_text(client, streaming, stop=["the end", "zzz"]))
        lease, _ = await replica.take()
        await replica.say(lease, 0, replica.ids("a th"))
        await replica.say(lease, len(replica.ids("a th")), replica.ids("us the en"))
        said = len(replica.ids("a th")) + len(replica.ids("us the en"))
        await replica.say(lease, said, replica.ids("d of it"))
        assert await asking == ("a thus ", "stop")
    await replica.told_to_stop(lease)
    await gateway.settled(accepted=1, completed=1)


async def _text(
    client: openai.AsyncOpenAI, streaming: bool, stop: list[str], min_tokens: int = 0
) -> tuple[str, str]:
    messages: list[openai.types.chat.ChatCompletionMessageParam] = [
        {"role": "user", "content": "x"}
    ]
    if streaming:
        text, finish = "", ""
        async for chunk in await client.chat.completions.create(
            model=MODEL, messages=messages, stop=stop, stream=True
        ):
            text += chunk.choices[0].delta.content or ""
            finish = chunk.choices[0].finish_reason or finish
        return text, finish
    reply = await client.chat.completions.create(
        model=MODEL, messages=messages, stop=stop, extra_body={"min_tokens": min_tokens}
    )
    return reply.choices[0].message.content or "", reply.choices[0].finish_reason


async def test_a_request_without_a_seed_draws_one(gateway: Gateway, replica: Replica) -> None:
    async with gateway.openai() as client:
        seeds = set()
        for _ in range(2):
            serving = asyncio.create_task(replica.answer("a"))
            await client.completions.create(model=MODEL, prompt="x", max_tokens=1)
            [spec] = await serving
            seeds.add(spec.sampling.seed)
    assert len(seeds) == 2


async def test_models_are_the_deployments(gateway: Gateway) -> None:
    async with gateway.openai() as client:
        listed = (await client.models.list()).data
        assert [model.id for model in listed] == [MODEL]
        assert (await client.models.retrieve(MODEL)).created == 1_700_000_000
        with pytest.raises(openai.NotFoundError) as missing:
            await client.models.retrieve("nothing")
        assert missing.value.code == "model_not_found"


async def test_a_gateway_writes_the_request_id_on_the_job(
    gateway: Gateway, replica: Replica
) -> None:
    async with gateway.http() as client:
        serving = asyncio.create_task(replica.answer("a"))
        reply = await client.post(
            "/v1/completions",
            json={"model": MODEL, "prompt": "x", "max_tokens": 1},
            headers={"x-request-id": "mine-1"},
        )
        [spec] = await serving
    assert reply.headers["x-request-id"] == spec.request_id == "mine-1"
