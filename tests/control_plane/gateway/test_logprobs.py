"""Log-probabilities from a replica to the official client, whole and in streams."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest

from infra.wire import FinishReason, TokenLogprob
from tests.control_plane.gateway.conftest import MODEL, Gateway, Replica

TEXT = "the déjà 🙂!"
RANK = 31
MESSAGES: list[Any] = [{"role": "user", "content": "x"}]


def told(tokens: list[int], top: int = 2) -> list[TokenLogprob]:
    """Declared values: each token its own, the likeliest ones beside it."""
    return [
        TokenLogprob(-token / 100, [(token, -token / 100), (7, -9.0)][:top], RANK)
        for token in tokens
    ]


async def answer(replica: Replica, text: str, top: int = 2, each: int = 1) -> Any:
    """Serve the next job, some tokens an event."""
    lease, spec = await replica.take()
    tokens = replica.ids(text)
    prompt = [None, *told(spec.prompt[1:], top)] if spec.sampling.prompt_logprobs >= 0 else []
    for index in range(0, len(tokens), each):
        piece = tokens[index : index + each]
        await replica.say(
            lease,
            index,
            piece,
            logprobs=told(piece, top),
            prompt_logprobs=prompt if index == 0 else [],
        )
    await replica.say(lease, len(tokens), [], FinishReason.STOP)
    return spec


async def chat(client: openai.AsyncOpenAI, streaming: bool, **fields: Any) -> tuple[str, list[Any]]:
    """Text and `logprobs.content` of a chat."""
    asked: dict[str, Any] = {"model": MODEL, "messages": MESSAGES, "logprobs": True, **fields}
    if not streaming:
        [choice] = (await client.chat.completions.create(**asked)).choices
        return choice.message.content or "", choice.logprobs.content or []
    text, content = "", []
    async for chunk in await client.chat.completions.create(**asked, stream=True):
        [choice] = chunk.choices
        text += choice.delta.content or ""
        content += choice.logprobs.content if choice.logprobs else []
    return text, content


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_chat_has_one_logprob_for_each_token(
    gateway: Gateway, replica: Replica, streaming: bool
) -> None:
    serving = asyncio.create_task(answer(replica, TEXT))
    async with gateway.openai() as client:
        text, content = await chat(client, streaming, top_logprobs=2)
    spec = await serving
    tokens = replica.ids(TEXT)
    assert spec.sampling.logprobs == 2
    assert text == TEXT
    assert b"".join(bytes(each.bytes) for each in content) == TEXT.encode()
    assert [each.logprob for each in content] == [-token / 100 for token in tokens]
    assert content[0].token == "the"
    assert [top.logprob for top in content[0].top_logprobs] == [-tokens[0] / 100, -9.0]
    assert content[-2].token == "\ufffd", "the last byte of a character alone"


async def test_a_chat_that_asks_for_none_has_none(gateway: Gateway, replica: Replica) -> None:
    serving = asyncio.create_task(replica.answer("ab"))
    async with gateway.openai() as client:
        reply = await client.chat.completions.create(model=MODEL, messages=MESSAGES)
    [spec] = await serving
    assert reply.choices[0].logprobs is None
    assert spec.sampling.logprobs == spec.sampling.prompt_logprobs == -1


async def complete(client: openai.AsyncOpenAI, streaming: bool, **fields: Any) -> Any:
    """Text and the four lists of a text completion."""
    asked: dict[str, Any] = {"model": MODEL, "prompt": "the x", "logprobs": 1, **fields}
    if not streaming:
        [choice] = (await client.completions.create(**asked)).choices
        return choice.text, choice.logprobs.model_dump()
    text, lists = "", dict[str, list[Any]]()
    async for chunk in await client.completions.create(**asked, stream=True):
        [choice] = chunk.choices
        text += choice.text
        for name, values in choice.logprobs.model_dump().items() if choice.logprobs else ():
            lists.setdefault(name, []).extend(values)
    return text, lists


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_text_completion_has_openais_four_lists(
    gateway: Gateway, replica: Replica, streaming: bool
) -> None:
    serving = asyncio.create_task(answer(replica, "abc the", top=0))
    async with gateway.openai() as client:
        text, lists = await complete(client, streaming)
    await serving
    tokens = replica.ids("abc the")
    assert text == "abc the"
    assert lists["tokens"] == ["a", "b", "c", " the"]
    assert lists["text_offset"] == [0, 1, 2, 3]
    assert lists["token_logprobs"] == [-token / 100 for token in tokens]
    assert lists["top_logprobs"][0] == {"a": -tokens[0] / 100}, "the chosen one in any case"


@pytest.mark.parametrize("streaming", [False, True])
async def test_echo_shows_the_prompt_and_its_logprobs_first(
    gateway: Gateway, replica: Replica, streaming: bool
) -> None:
    serving = asyncio.create_task(answer(replica, "ab", each=2))
    async with gateway.openai() as client:
        text, lists = await complete(client, streaming, echo=True)
    spec = await serving
    assert spec.sampling.prompt_logprobs == 1
    assert text == "the xab"
    assert lists["tokens"] == ["the", " ", "x", "a", "b"]
    assert lists["text_offset"] == [0, 3, 4, 5, 6]
    assert lists["token_logprobs"][0] is None
    assert lists["top_logprobs"][0] is None
    ids = [*replica.ids("the x")[1:], *replica.ids("ab")]
    assert lists["token_logprobs"][1:] == [-token / 100 for token in ids]


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_prompt_is_scored_without_an_output(
    gateway: Gateway, replica: Replica, streaming: bool
) -> None:
    serving = asyncio.create_task(answer(replica, "a"))
    async with gateway.openai() as client:
        text, lists = await complete(client, streaming, echo=True, max_tokens=0)
    spec = await serving
    assert spec.sampling.max_tokens == 1
    assert text == "the x"
    assert lists["tokens"] == ["the", " ", "x"]
    assert lists["token_logprobs"][1:] == [-token / 100 for token in replica.ids("the x")[1:]]


async def test_no_output_is_no_usage_and_ends_at_its_length(
    gateway: Gateway, replica: Replica
) -> None:
    async with gateway.http() as client:
        serving = asyncio.create_task(answer(replica, "a"))
        asked = {"model": MODEL, "prompt": "the x", "prompt_logprobs": 1, "max_tokens": 0}
        body = (await client.post("/v1/completions", json=asked)).json()
        await serving
    [choice] = body["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("", "length")
    assert body["usage"] == {"prompt_tokens": 3, "completion_tokens": 0, "total_tokens": 3}
    assert len(choice["prompt_logprobs"]) == 3


async def test_echo_without_logprobs_is_only_text(gateway: Gateway, replica: Replica) -> None:
    serving = asyncio.create_task(replica.answer("ab"))
    async with gateway.openai() as client:
        reply = await client.completions.create(model=MODEL, prompt="the x", echo=True)
    [spec] = await serving
    assert (reply.choices[0].text, reply.choices[0].logprobs) == ("the xab", None)
    assert spec.sampling.prompt_logprobs == -1


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(("include", "shown"), [(False, "one tw"), (True, "one two th")])
async def test_a_stop_string_cuts_logprobs_where_it_cuts_the_text(
    gateway: Gateway, replica: Replica, streaming: bool, include: bool, shown: str
) -> None:
    serving = asyncio.create_task(answer(replica, "one two three", each=4))
    async with gateway.openai() as client:
        extra = {"include_stop_str_in_output": include}
        text, content = await chat(client, streaming, stop=["o th"], extra_body=extra)
    await serving
    assert text == shown
    joined = "".join(each.token for each in content)
    assert joined.startswith(shown)
    assert len(joined) - len(shown) < len(content[-1].token), "the last token is cut at most"


async def test_special_tokens_are_shown_to_who_wants_them(
    gateway: Gateway, replica: Replica
) -> None:
    async with gateway.openai() as client:
        for skip, shown in ((True, "ab"), (False, "a<|start|>b")):
            serving = asyncio.create_task(replica.answer("a<|start|>b"))
            extra = {"skip_special_tokens": skip}
            reply = await client.completions.create(model=MODEL, prompt="x", extra_body=extra)
            await serving
            assert reply.choices[0].text == shown


async def test_prompt_logprobs_are_shown_as_vllm_shows_them(
    gateway: Gateway, replica: Replica
) -> None:
    async with gateway.http() as client:
        serving = asyncio.create_task(answer(replica, "ab"))
        asked = {"model": MODEL, "prompt": "the x", "prompt_logprobs": 2}
        [choice] = (await client.post("/v1/completions", json=asked)).json()["choices"]
        await serving
        first, second, _ = choice["prompt_logprobs"]
        token = replica.ids("the x")[1]
        assert first is None
        assert second == {
            str(token): {"logprob": -token / 100, "rank": 1, "decoded_token": " "},
            "7": {"logprob": -9.0, "rank": 2, "decoded_token": "("},
        }
        serving = asyncio.create_task(answer(replica, "ab", top=0))
        asked = {**asked, "prompt_logprobs": 0}
        [choice] = (await client.post("/v1/completions", json=asked)).json()["choices"]
        await serving
        assert choice["prompt_logprobs"][1][str(token)]["rank"] == RANK, "beyond the likeliest ones"
        serving = asyncio.create_task(answer(replica, "ab"))
        asked = {"model": MODEL, "messages": MESSAGES, "prompt_logprobs": 0}
        body = (await client.post("/v1/chat/completions", json=asked)).json()
        spec = await serving
        assert len(body["prompt_logprobs"]) == len(spec.prompt)
        assert "prompt_logprobs" not in body["choices"][0]


async def test_best_of_answers_with_the_highest_mean_logprobs(
    gateway: Gateway, replica: Replica
) -> None:
    async with gateway.openai() as client:
        asking = asyncio.create_task(
            client.completions.create(
                model=MODEL, prompt=["x", "y"], n=2, best_of=3, max_tokens=4, temperature=1
            )
        )
        for _ in range(6):
            lease, spec = await replica.take()
            assert spec.sampling.logprobs == 0
            tokens = replica.ids(f"{spec.choice}")
            # The lower the number of the choice, the less likely.
            logprob = TokenLogprob(-6.0 + spec.choice)
            await replica.say(lease, 0, tokens, FinishReason.STOP, logprobs=[logprob])
        reply = await asking
    assert [choice.text for choice in reply.choices] == ["2", "1", "5", "4"]
    assert [choice.index for choice in reply.choices] == [0, 1, 2, 3]
    assert reply.choices[0].logprobs is None
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 6


async def test_a_lost_attempt_neither_loses_nor_repeats_logprobs(
    gateway: Gateway, replica: Replica
) -> None:
    ids = replica.ids("abcdef")
    async with gateway.openai() as client:
        asking = asyncio.create_task(complete(client, streaming=True, echo=True))
        lease, spec = await replica.take(ttl_s=0.3)
        prompt = [None, *told(spec.prompt[1:])]
        await replica.say(lease, 0, ids[:3], logprobs=told(ids[:3]), prompt_logprobs=prompt)
        again, spec = await replica.take()
        assert spec.delivered == ids[:3]
        assert spec.sampling.logprobs == 1
        # An attempt that sends more than is missing: what is known is not taken twice.
        await replica.say(again, 2, ids[2:], FinishReason.STOP, logprobs=told(ids[2:]))
        text, lists = await asking
    assert text == "the xabcdef"
    assert lists["tokens"] == ["the", " ", "x", *"abcdef"]
    assert lists["token_logprobs"][3:] == [-token / 100 for token in ids]


async def test_every_sampling_parameter_reaches_the_job(gateway: Gateway, replica: Replica) -> None:
    wanted: dict[str, Any] = {
        "min_p": 0.25,
        "presence_penalty": -1.5,
        "frequency_penalty": 2,
        "repetition_penalty": 1.25,
        "min_tokens": 2,
        "top_k": 9,
    }
    body = {"model": MODEL, "prompt": "x", "max_tokens": 4, "logit_bias": {"5": -100, "07": 3}}
    async with gateway.http() as client:
        serving = asyncio.create_task(replica.answer("abc"))
        reply = await client.post(
            "/v1/completions", json={**body, **wanted, "stop_token_ids": [11, 12]}
        )
        [spec] = await serving
    assert reply.status_code == 200, reply.text
    assert {name: getattr(spec.sampling, name) for name in wanted} == wanted
    assert spec.sampling.logit_bias == {5: -100, 7: 3}
    assert spec.sampling.stop_token_ids == (*replica.ids("<|end|>"), 11, 12)
