"""`response_format`, `structured_outputs` and demanded calls: what reaches a worker, and what is
refused before anything is queued."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
from redis.asyncio import Redis

from infra.grammar import MAX_GRAMMAR_CHARS
from infra.settings import Settings
from infra.wire import Grammar, GrammarKind, TextAssets
from tests.control_plane.gateway.conftest import MODEL, Gateway, Replica
from tests.fixtures.waiting import eventually

MESSAGES = [{"role": "user", "content": "x"}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
CHAT = "/v1/chat/completions"


def tool(name: str, parameters: Any = None) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters or SCHEMA}}


def json_schema(schema: Any, name: str = "it") -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": True}}


WANTED: list[tuple[dict[str, Any], Grammar | None]] = [
    ({}, None),
    ({"response_format": {"type": "text"}}, None),
    ({"response_format": {"type": "json_object"}}, Grammar(GrammarKind.JSON_OBJECT)),
    (
        {"response_format": json_schema(SCHEMA)},
        Grammar(GrammarKind.JSON_SCHEMA, json.dumps(SCHEMA)),
    ),
    (
        {"structured_outputs": {"json": SCHEMA}},
        Grammar(GrammarKind.JSON_SCHEMA, json.dumps(SCHEMA)),
    ),
    ({"structured_outputs": {"json_object": True}}, Grammar(GrammarKind.JSON_OBJECT)),
    ({"structured_outputs": {"regex": "[0-9]+"}}, Grammar(GrammarKind.REGEX, "[0-9]+")),
    (
        {"structured_outputs": {"choice": ['a"b', "é"]}},
        Grammar(GrammarKind.LARK, 'start: "a\\"b" | "\\u00e9"\n'),
    ),
    (
        {"structured_outputs": {"grammar": 'start: "x"'}},
        Grammar(GrammarKind.LARK, 'start: "x"'),
    ),
    (
        {"structured_outputs": {"grammar": 'root ::= "x" | [a-z]{2}'}},
        Grammar(GrammarKind.LARK, 'root ::= "x" | [a-z]{2}'),
    ),
    (
        {"structured_outputs": {"grammar": "start: <|start|> | <[7]>"}},
        Grammar(GrammarKind.LARK, "start: <|start|> | <[7]>"),
    ),
    ({"tools": [tool("f")]}, None),
    ({"tools": [tool("f")], "tool_choice": "none"}, None),
]


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"response_format": {"type": "xml"}}, "response_format.type", "json_schema"),
    ({"response_format": {"type": "json_schema"}}, "response_format", "json_schema"),
    (
        {"response_format": json_schema(SCHEMA, "a name")},
        "response_format.json_schema.name",
        "pattern",
    ),
    (
        {"response_format": json_schema({"type": "nonsense"})},
        "response_format",
        "Invalid type: nonsense",
    ),
    (
        {"response_format": json_schema({"type": "array", "uniqueItems": True})},
        "response_format",
        "uniqueItems",
    ),
    (
        {"response_format": json_schema({"enum": ["a" * 100] * 2000})},
        "response_format",
        f"at most {MAX_GRAMMAR_CHARS}",
    ),
    ({"structured_outputs": {}}, "structured_outputs", "is one of"),
    ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, "structured_outputs", "is one"),
    ({"structured_outputs": {"regex": "(("}}, "structured_outputs", "unclosed group"),
    ({"structured_outputs": {"grammar": "start: x"}}, "structured_outputs", "unknown name"),
    ({"structured_outputs": {"grammar": "start: <|nope|>"}}, "structured_outputs", "special token"),
    ({"structured_outputs": {"grammar": "start: <[300]>"}}, "structured_outputs", "too large: 300"),
    (
        {"structured_outputs": {"grammar": "start: A\nA: /a/ & /b/"}},
        "structured_outputs",
        "no text",
    ),
    ({"structured_outputs": {"regex": "[a&&b]"}}, "structured_outputs", "no text matches it"),
    ({"structured_outputs": {"grammar": "root ::= x"}}, "structured_outputs", "'x' not found"),
    (
        {"structured_outputs": {"grammar": "root ::= " + "(" * 5000}},
        "structured_outputs",
        "nested too deeply",
    ),
    (
        {"structured_outputs": {"grammar": 'root ::= "a"\n' * 501}},
        "structured_outputs",
        "at most 500",
    ),
    ({"structured_outputs": {"json": "{"}}, "structured_outputs", "not JSON"),
    ({"structured_outputs": {"choice": []}}, "structured_outputs.choice", "at least 1"),
    (
        {"structured_outputs": {"regex": "a"}, "ignore_eos": True},
        "ignore_eos",
        "ends where that does",
    ),
    (
        {"structured_outputs": {"regex": "yes|no"}, "min_tokens": 3},
        "min_tokens",
        "says how long it is",
    ),
    (
        {"tools": [tool("f")], "tool_choice": "required", "min_tokens": 3},
        "min_tokens",
        "says how long it is",
    ),
    (
        {"structured_outputs": {"regex": "a"}, "tools": [tool("f")]},
        "structured_outputs",
        "JSON only",
    ),
    ({"tools": [{"type": "function"}]}, "tools[0].function", "Missing"),
    ({"tools": [tool("a name")]}, "tools[0].function.name", "pattern"),
    ({"tools": [tool("f")] * 2}, "tools", "must differ"),
    ({"tools": [tool(f"f{i}") for i in range(129)]}, "tools", "128"),
    (
        {"tools": [tool("f", {"type": "string"})]},
        "tools[0].function.parameters",
        "schema of an object",
    ),
    (
        {
            "tools": [tool("f"), tool("g", {"type": "object", "minProperties": "x"})],
            "tool_choice": "required",
        },
        "tools[1].function.parameters",
        "no answer can be made to match it",
    ),
    ({"tool_choice": "required"}, "tool_choice", "no tools"),
    ({"tool_choice": "always"}, "tool_choice", "none, auto, required"),
    ({"tool_choice": {"type": "function"}}, "tool_choice", "names the function"),
    (
        {
            "tools": [tool("f")],
            "tool_choice": {"type": "function", "function": {"name": "g"}},
        },
        "tool_choice",
        "not among the tools",
    ),
]


async def test_a_worker_gets_the_grammar_that_was_asked_for(
    gateway: Gateway, replica: Replica
) -> None:
    async with gateway.http() as client:
        for fields, grammar in WANTED:
            serving = asyncio.create_task(replica.answer("ok"))
            reply = await client.post(CHAT, json={"model": MODEL, "messages": MESSAGES, **fields})
            assert reply.status_code == 200, reply.text
            [spec] = await serving
            assert spec.sampling.grammar == grammar


async def test_a_model_without_an_end_is_asked_for_no_structure(
    settings: Settings, valkey: Redis, assets: TextAssets
) -> None:
    endless = Gateway(settings, valkey, msgspec.structs.replace(assets, eos_token_ids=()))
    await endless.start()
    try:
        await endless.publish()
        async with endless.http() as client:
            body = {"model": MODEL, "prompt": "x", "structured_outputs": {"regex": "[0-9]"}}
            reply = await client.post("/v1/completions", json=body)
        await endless.settled(accepted=0)
    finally:
        await endless.stop()
    assert reply.status_code == 400
    assert "names no end-of-sequence token" in reply.json()["error"]["message"]


async def test_completions_are_held_to_a_structure_too(gateway: Gateway, replica: Replica) -> None:
    async with gateway.http() as client:
        serving = asyncio.create_task(replica.answer("7"))
        body = {"model": MODEL, "prompt": "x", "structured_outputs": {"regex": "[0-9]"}}
        assert (await client.post("/v1/completions", json=body)).status_code == 200
        [spec] = await serving
    assert spec.sampling.grammar == Grammar(GrammarKind.REGEX, "[0-9]")


async def test_what_no_answer_could_match_is_refused_with_its_field_and_its_reason(
    gateway: Gateway,
) -> None:
    async with gateway.http() as client:
        for fields, param, message in REFUSED:
            reply = await client.post(CHAT, json={"model": MODEL, "messages": MESSAGES, **fields})
            assert reply.status_code == 400, reply.text
            error = reply.json()["error"]
            assert error["param"] == param, error
            assert message in error["message"]
    await gateway.settled(accepted=0)


async def test_a_grammar_that_never_compiles_costs_its_compiler_alone(gateway: Gateway) -> None:
    pool = gateway.services.tokenizers
    before = pool.pids
    pool._limit_s = 0.0
    try:
        async with gateway.http() as client:
            wanted = {"structured_outputs": {"regex": "a"}}
            reply = await client.post(CHAT, json={"model": MODEL, "messages": MESSAGES, **wanted})
    finally:
        pool._limit_s = gateway.settings.tokenizer_limit_s
    assert reply.status_code == 400
    assert "takes too long to compile" in reply.json()["error"]["message"]
    await eventually(lambda: _differ(pool.pids, before))


async def _differ(pids: list[int], before: list[int]) -> bool:
    return len(pids) == len(before) and pids != before
