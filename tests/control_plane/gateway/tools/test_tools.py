"""Functions through the official client: offered, called, answered, and called again."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest
from tokenizers import Tokenizer

from control_plane.gateway.text_models import TextModel
from control_plane.gateway.tokenizer_messages import EncodeChat
from control_plane.gateway.tokenizer_process import LoadedText
from infra.wire import GrammarKind, OfferedTools, TextAssets
from tests.control_plane.gateway.conftest import MODEL, Gateway, Replica
from tests.fixtures.waiting import eventually

CHAT = "/v1/chat/completions"
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER: Any = {
    "type": "function",
    "function": {"name": "weather", "description": "Now.", "parameters": PARAMETERS},
}
MESSAGES: Any = [{"role": "user", "content": "Weather in Paris and Rome?"}]
PARIS, ROME = '{"city": "Paris"}', '{"city": "Rome"}'
CALLS = "\n".join(
    f'<tool_call>\n{{"name": "weather", "arguments": {arguments}}}\n</tool_call>'
    for arguments in (PARIS, ROME)
)
QWEN = (
    "{% if tools %}{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}{% endif %}"
    "{% for message in messages %}<|start|>{{ message.role }}\n{{ message.content }}"
    "{% for call in message.tool_calls %}<tool_call>{{ call.function.name }} "
    "{{ call.function.arguments.city }}</tool_call>{% endfor %}<|end|>\n{% endfor %}"
)


@pytest.fixture
async def gateway(gateway: Gateway) -> Gateway:
    """Signatures take room: every byte is a token here."""
    await gateway.publish(max_context_tokens=4096)
    return gateway


async def test_calls_are_answered_whole(gateway: Gateway, replica: Replica) -> None:
    serving = asyncio.create_task(replica.answer(f"Let me see.\n{CALLS}"))
    async with gateway.openai() as client:
        reply = await client.chat.completions.create(
            model=MODEL, messages=MESSAGES, tools=[WEATHER]
        )
    [spec] = await serving
    [choice] = reply.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Let me see."
    calls: Any = choice.message.tool_calls
    assert [call.function.arguments for call in calls] == [PARIS, ROME]
    assert {call.function.name for call in calls} == {"weather"}
    assert len({call.id for call in calls}) == 2
    assert spec.sampling.grammar is None
    assert '"description": "Now."' in bytes_of(replica, spec.prompt)


async def test_calls_are_streamed_as_they_come(gateway: Gateway, replica: Replica) -> None:
    serving = asyncio.create_task(replica.answer(CALLS))
    async with gateway.openai() as client:
        stream = await client.chat.completions.create(
            model=MODEL, messages=MESSAGES, tools=[WEATHER], stream=True
        )
        chunks = [chunk.choices[0] async for chunk in stream]
    await serving
    assert "".join(chunk.delta.content or "" for chunk in chunks) == ""
    news = [call for chunk in chunks for call in chunk.delta.tool_calls or []]
    for index, arguments in enumerate((PARIS, ROME)):
        mine = [call for call in news if call.index == index]
        assert mine[0].id
        assert mine[0].type == "function"
        assert mine[0].function is not None
        assert mine[0].function.name == "weather"
        assert all(call.id is None and not call.function.name for call in mine[1:])  # type: ignore[union-attr]
        assert "".join(call.function.arguments or "" for call in mine) == arguments  # type: ignore[union-attr]
        assert len(mine) > 3, "the arguments come in pieces"
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["tool_calls"]


async def test_an_answer_without_calls_is_a_plain_one(gateway: Gateway, replica: Replica) -> None:
    async with gateway.openai() as client:
        serving = asyncio.create_task(replica.answer("Sunny."))
        plain = await client.chat.completions.create(
            model=MODEL, messages=MESSAGES, tools=[WEATHER]
        )
        await serving
        serving = asyncio.create_task(replica.answer(CALLS))
        unread = await client.chat.completions.create(
            model=MODEL, messages=MESSAGES, tools=[WEATHER], tool_choice="none"
        )
        [spec] = await serving
    assert plain.choices[0].message.content == "Sunny."
    assert plain.choices[0].message.tool_calls is None
    assert plain.choices[0].finish_reason == "stop"
    assert unread.choices[0].message.content == CALLS
    assert "weather" not in bytes_of(replica, spec.prompt)


async def test_calls_and_their_results_are_part_of_the_conversation(
    gateway: Gateway, replica: Replica
) -> None:
    async with gateway.openai() as client:
        serving = asyncio.create_task(replica.answer(CALLS))
        first = await client.chat.completions.create(
            model=MODEL, messages=MESSAGES, tools=[WEATHER]
        )
        await serving
        calls: Any = first.choices[0].message.tool_calls
        results = [
            {"role": "tool", "tool_call_id": call.id, "content": f"{place} degrees"}
            for place, call in enumerate(calls)
        ]
        serving = asyncio.create_task(replica.answer("Warm."))
        await client.chat.completions.create(
            model=MODEL,
            messages=[*MESSAGES, first.choices[0].message, *results],
            tools=[WEATHER],
        )
        [spec] = await serving
    prompt = bytes_of(replica, spec.prompt)
    assert f"<|start|>assistant\n{CALLS}<|end|>" in prompt
    answered = "".join(f"<tool_response>\n{i} degrees\n</tool_response>\n" for i in range(2))
    assert f"<|start|>user\n{answered.rstrip()}<|end|>" in prompt


async def test_a_demanded_call_is_a_grammar_of_its_arguments(
    gateway: Gateway, replica: Replica
) -> None:
    other = {**WEATHER, "function": {**WEATHER["function"], "name": "other"}}
    named = {"type": "function", "function": {"name": "weather"}}
    async with gateway.http() as client:
        for choice, offered in (("required", {"weather", "other"}), (named, {"weather"})):
            serving = asyncio.create_task(replica.answer("x"))
            body = {"model": MODEL, "messages": MESSAGES, "tools": [WEATHER, other]}
            reply = await client.post(CHAT, json={**body, "tool_choice": choice})
            assert reply.status_code == 200, reply.text
            [spec] = await serving
            grammar = spec.sampling.grammar
            assert grammar is not None
            assert grammar.kind is GrammarKind.LARK
            assert {name for name in ("weather", "other") if f'\\"{name}\\"' in grammar.text} == (
                offered
            )
            assert "{0,15}" in grammar.text or choice == named, "one call where one is named"


async def test_a_durable_answer_has_the_same_calls_however_it_is_read(
    gateway: Gateway, replica: Replica
) -> None:
    async with gateway.http() as client:
        body = {"model": MODEL, "messages": MESSAGES, "tools": [WEATHER], "background": True}
        begun = (await client.post(CHAT, json=body)).json()
        await replica.answer(f"So: {CALLS}")
        path = f"{CHAT}/{begun['id']}"

        async def done() -> Any:
            answer = (await client.get(path)).json()
            return answer if answer["status"] == "completed" else None

        answer = await eventually(done)
        assert (await client.get(path)).json() == answer
        [choice] = answer["choices"]
        assert choice["finish_reason"] == "tool_calls"
        assert choice["message"]["content"] == "So:"
        whole = await _streamed(client, path)
        assert [event for event in whole if event[1]["choices"][0]["finish_reason"]]
        assert _calls(whole) == choice["message"]["tool_calls"]
        middle = whole[len(whole) // 2][0]
        rest = await _streamed(client, path, starting_after=middle)
        assert rest == [event for event in whole if event[0] > middle]


async def _streamed(client: Any, path: str, **query: Any) -> list[tuple[int, Any]]:
    reply = await client.get(path, params={"stream": True, **query})
    found = []
    for event in reply.text.split("\n\n"):
        if event.startswith("id: "):
            number, _, data = event.partition("\n")
            found.append((int(number[4:]), json.loads(data.removeprefix("data: "))))
    return found


def _calls(events: list[tuple[int, Any]]) -> list[Any]:
    """What a client puts together of deltas."""
    calls: list[Any] = []
    for _, body in events:
        for news in body["choices"][0]["delta"].get("tool_calls", []):
            if "id" in news:
                function = dict(news["function"])
                calls.append({"id": news["id"], "type": news["type"], "function": function})
            else:
                calls[news["index"]]["function"]["arguments"] += news["function"]["arguments"]
    return calls


async def test_arguments_and_schemas_may_hold_whatever_json_holds(
    gateway: Gateway, replica: Replica
) -> None:
    huge = 10**40
    offered = {**WEATHER, "function": {"name": "f", "parameters": {"properties": {"a": huge}}}}
    texts = [f'{{"a": {huge}}}', "[" * 5000, "no json", ""]
    calls = [
        {"id": str(place), "type": "function", "function": {"name": "f", "arguments": text}}
        for place, text in enumerate(texts)
    ]
    said = {"role": "assistant", "content": None, "tool_calls": calls}
    await gateway.publish(max_context_tokens=1 << 15)
    async with gateway.http() as client:
        serving = asyncio.create_task(replica.answer("ok"))
        body = {"model": MODEL, "messages": [*MESSAGES, said], "tools": [offered]}
        reply = await client.post(CHAT, json=body)
        assert reply.status_code == 200, reply.text
        [spec] = await serving
    assert bytes_of(replica, spec.prompt).count(str(huge)) == 2


def test_a_template_that_knows_functions_gets_them_as_objects(assets: TextAssets) -> None:
    text = LoadedText(msgspec.structs.replace(assets, chat_template=QWEN))
    tokenizer = Tokenizer.from_str(assets.tokenizer_json)
    call = {"id": "1", "type": "function", "function": {"name": "w", "arguments": ROME}}
    messages = [{"role": "assistant", "content": "", "tool_calls": [call]}]
    prompt = text.encode_chat(EncodeChat("", messages, 10_000, json.dumps([WEATHER])))
    rendered = tokenizer.decode(prompt.ids, skip_special_tokens=False)
    assert rendered.startswith(json.dumps(WEATHER) + "\n<|start|>assistant\n")
    assert "<tool_call>w Rome</tool_call>" in rendered
    assert "You can call functions" not in rendered
    plain = text.encode_chat(EncodeChat("", [{"role": "user", "content": "x"}], 10_000))
    assert len(plain.ids) < 20


def test_special_tokens_that_mark_calls_are_read_where_functions_were_offered(
    assets: TextAssets,
) -> None:
    tokenizer = Tokenizer.from_str(assets.tokenizer_json)
    tokenizer.add_special_tokens(["[TOOL_CALLS]"])
    marked = msgspec.structs.replace(assets, tokenizer_json=tokenizer.to_str())
    text = TextModel(marked)
    ids = tokenizer.encode("a[TOOL_CALLS][]<|end|>", add_special_tokens=False).ids
    shown = text.detokenizer(tools=OfferedTools("mistral", ("f",)))
    assert "".join(shown.push(each) for each in ids) + shown.flush() == "a[TOOL_CALLS][]"
    hidden = text.detokenizer()
    assert "".join(hidden.push(each) for each in ids) + hidden.flush() == "a[]"
    assert text.special_id("[TOOL_CALLS]") == tokenizer.token_to_id("[TOOL_CALLS]")
    assert text.special_id("a") is None


def bytes_of(replica: Replica, ids: list[int]) -> str:
    return str(replica._tokenizer.decode(ids, skip_special_tokens=False))
