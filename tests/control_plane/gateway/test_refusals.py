"""Bad input, bad keys, bad times: each a clear error in OpenAI's shape, never a 5xx of ours."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from control_plane.gateway import completions, health, models, openapi
from infra.settings import Settings
from infra.wire import TextAssets
from tests.control_plane.gateway.conftest import CONTEXT_TOKENS, MODEL, Gateway
from tests.fixtures.waiting import eventually

CHAT: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "x"}]}
TEXT: dict[str, Any] = {"model": MODEL, "prompt": "x"}


def chat(**fields: Any) -> tuple[str, dict[str, Any]]:
    return "/v1/chat/completions", {**CHAT, **fields}


def text(**fields: Any) -> tuple[str, dict[str, Any]]:
    return "/v1/completions", {**TEXT, **fields}


def message(**fields: Any) -> tuple[str, dict[str, Any]]:
    return chat(messages=[{"role": "user", "content": "x", **fields}])


BAD_FIELDS: list[tuple[tuple[str, dict[str, Any]], str]] = [
    (chat(temperature="hot"), "temperature"),
    (chat(temperature=3), "temperature"),
    (chat(temperature=True), "temperature"),
    (chat(top_p=-0.1), "top_p"),
    (chat(top_k=-2), "top_k"),
    (chat(n=0), "n"),
    (chat(n=9), "n"),
    (chat(n=1.5), "n"),
    (chat(seed="1"), "seed"),
    (chat(seed=1 << 80), "seed"),
    (chat(stop=["a"] * 5), "stop"),
    (chat(stop=[""]), "stop[0]"),
    (chat(stop=5), "stop"),
    (chat(stop="x" * 5000), "stop[0]"),
    (chat(max_tokens=0), "max_tokens"),
    (chat(max_tokens="5"), "max_tokens"),
    (chat(max_tokens=5, max_completion_tokens=0), "max_completion_tokens"),
    (chat(chat_template_kwargs={"messages": []}), "chat_template_kwargs"),
    (chat(chat_template_kwargs=["enable_thinking"]), "chat_template_kwargs"),
    (chat(reasoning_effort="very"), "reasoning_effort"),
    (chat(stream="yes"), "stream"),
    (chat(stream_options={"include_usage": True}), "stream_options"),
    (chat(stream=True, stream_options={"include": 1}), "stream_options.include"),
    (chat(messages=[]), "messages"),
    (chat(messages="hi"), "messages"),
    (chat(messages=["hi"]), "messages[0]"),
    (message(role="function"), "messages[0].role"),
    (message(content=None), "messages[0].content"),
    (message(content=[]), "messages[0].content"),
    (message(content=[{"type": "image_url", "image_url": {}}]), "messages[0].content.type"),
    (message(tool_calls=[{"id": "1"}]), "messages[0].tool_calls[0].function"),
    (chat(logprobs=2), "logprobs"),
    (chat(logprobs=True, top_logprobs=21), "top_logprobs"),
    (chat(top_logprobs=2), "top_logprobs"),
    (chat(frequency_penalty=2.5), "frequency_penalty"),
    (chat(presence_penalty=-2.1), "presence_penalty"),
    (chat(repetition_penalty=0), "repetition_penalty"),
    (chat(min_p=1.1), "min_p"),
    (chat(logit_bias={"1": 101}), "logit_bias[1]"),
    (chat(logit_bias={"a": 1}), "logit_bias"),
    (chat(logit_bias={"1": 1, "01": 2}), "logit_bias"),
    (chat(logit_bias={"-1": 1}), "logit_bias"),
    (chat(logit_bias={"300": 1}), "logit_bias"),
    (chat(logit_bias={str(each): 1 for each in range(1025)}), "logit_bias"),
    (chat(stop_token_ids=[300]), "stop_token_ids"),
    (chat(stop_token_ids=[-1]), "stop_token_ids[0]"),
    (chat(min_tokens=9, max_tokens=8), "min_tokens"),
    (chat(min_tokens=-1), "min_tokens"),
    (chat(min_tokens=CONTEXT_TOKENS), "min_tokens"),
    (chat(prompt_logprobs=21), "prompt_logprobs"),
    (chat(prompt_logprobs=1, stream=True), "prompt_logprobs"),
    (chat(prompt_logprobs=1, background=True), "prompt_logprobs"),
    (chat(skip_special_tokens=1), "skip_special_tokens"),
    (chat(echo=True), "echo"),
    (chat(best_of=2), "best_of"),
    (chat(audio={"voice": "a"}), "audio"),
    (chat(store=True), "store"),
    (chat(user=5), "user"),
    (chat(model=5), "model"),
    (chat(model=""), "model"),
    (chat(temprature=1), "temprature"),
    (chat(prompt="x"), "prompt"),
    (text(prompt=[]), "prompt"),
    (text(prompt=["a", 1]), "prompt"),
    (text(prompt=[[]]), "prompt"),
    (text(prompt=[-1]), "prompt"),
    (text(prompt=[300]), "prompt"),
    (text(prompt=[1.5]), "prompt"),
    (text(prompt=["a"] * 65), "prompt"),
    (text(best_of=9), "best_of"),
    (text(n=3, best_of=2), "best_of"),
    (text(best_of=2, stream=True), "best_of"),
    (text(best_of=2, background=True), "best_of"),
    (text(prompt=["a"] * 10, best_of=8), "prompt"),
    (text(echo=1), "echo"),
    (text(logprobs=21), "logprobs"),
    (text(logprobs=True), "logprobs"),
    (text(top_logprobs=2), "top_logprobs"),
    (text(max_tokens=0), "max_tokens"),
    (text(max_tokens=0, echo=True, n=1, best_of=2), "best_of"),
    (text(max_tokens=0, echo=True, background=True), "max_tokens"),
    (text(reasoning_effort="low"), "reasoning_effort"),
    (text(suffix="b"), "suffix"),
    (text(messages=[]), "messages"),
]

BAD_BODIES = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"text"',
    b"\xff\xfe",
    b'{"model": "chat", "prompt": "\\ud800"}',
    b'{"model": "chat", "prompt": "x", "temperature": NaN}',
    b'{"model": "chat", "prompt": "x", "temperature": Infinity}',
    b'{"model": "chat", "prompt": ' + b"[" * 100_000,
    b'{"model": "chat", "prompt": "x", "seed": ' + b"9" * 10_000 + b"}",
]

NEUTRAL: list[tuple[str, dict[str, Any]]] = [
    chat(max_tokens=5, max_completion_tokens=6),
    chat(user="me", metadata={"a": "b"}, store=False, service_tier="auto", tools=[], n=None),
    chat(response_format={"type": "text"}, logprobs=False, tool_choice="none", logit_bias={}),
    chat(frequency_penalty=0.0, presence_penalty=0, modalities=["text"], seed=None, stop=None),
    message(role="assistant", refusal=None, annotations=[], tool_calls=None, audio=None),
    text(best_of=1, echo=False, suffix=None, logprobs=None),
]


async def test_every_wrong_field_is_a_400_that_names_it(gateway: Gateway) -> None:
    async with gateway.http() as client:
        for (path, body), param in BAD_FIELDS:
            error = refused(await client.post(path, json=body), 400)
            assert error["param"] == param, (body, error)
    await gateway.settled(accepted=0)


SAID: list[tuple[tuple[str, dict[str, Any]], str]] = [
    (chat(temperature=3), "Invalid value for 'temperature': must be at most 2."),
    (chat(n="1"), "Invalid value for 'n': must be an integer."),
    (chat(stream=1), "Invalid value for 'stream': must be true or false."),
    (chat(stop=[""]), "Invalid value for 'stop[0]': must have at least 1 character."),
    (chat(messages=["hi"]), "Invalid value for 'messages[0]': must be an object."),
    (chat(messages=[{"role": "user"}]), "Missing required parameter: 'messages[0].content'."),
    (chat(response_format={"type": "json_schema"}), "'json_schema' is missing"),
    (chat(stream=True, stream_options={"a": 1}), "supplied: stream_options.a."),
    (chat(image=1), "supplied: image."),
    (chat(system="x"), "supplied: system."),
    (chat(presence=1), "Did you mean 'presence_penalty'?"),
    (chat(enable_thinking=False), "Did you mean 'chat_template_kwargs.enable_thinking'?"),
    (text(enable_thinking=False), "supplied: enable_thinking."),
    (text(max_new_tokens=3), "Did you mean 'max_tokens'?"),
]


async def test_what_is_wrong_is_said_in_words_of_json_and_guesses_are_near(
    gateway: Gateway,
) -> None:
    async with gateway.http() as client:
        for (path, body), said in SAID:
            message = refused(await client.post(path, json=body), 400)["message"]
            assert said in message
            if said.endswith("."):
                assert message.endswith(said)


async def test_every_malformed_body_is_a_400(gateway: Gateway) -> None:
    async with gateway.http() as client:
        for body in BAD_BODIES:
            refused(await client.post("/v1/completions", content=body), 400)
    await gateway.settled(accepted=0)


async def test_what_changes_nothing_is_accepted(gateway: Gateway) -> None:
    await gateway.publish(max_queued_jobs=0)
    async with gateway.http() as client:
        for path, body in NEUTRAL:
            error = refused(await client.post(path, json=body), 429)
            assert error["code"] == "rate_limit_exceeded", "it got as far as the queue"


async def test_retry_after_is_what_a_replica_takes_to_start_where_none_is_ready(
    gateway: Gateway,
) -> None:
    await gateway.publish(max_queued_jobs=0, ready_replicas=0, boot_s=42.0)
    async with gateway.http() as client:
        path, body = chat()
        reply = await client.post(path, json=body)
    assert refused(reply, 429)
    assert reply.headers["retry-after"] == "42"


async def test_an_unknown_argument_is_refused_with_the_nearest_known(gateway: Gateway) -> None:
    async with gateway.http() as client:
        path, body = chat(max_completion_token=5)
        error = refused(await client.post(path, json=body), 400)
    assert "'max_completion_tokens'" in error["message"]


async def test_what_others_call_differently_is_refused_with_our_name_for_it(
    gateway: Gateway,
) -> None:
    async with gateway.http() as client:
        path, body = chat(guided_regex="[a-z]")
        error = refused(await client.post(path, json=body), 400)
    assert "'structured_outputs.regex'" in error["message"]


async def test_what_openai_has_and_we_do_not_is_said_to_be_unsupported(gateway: Gateway) -> None:
    async with gateway.http() as client:
        path, body = chat(audio={"voice": "alloy"})
        error = refused(await client.post(path, json=body), 400)
    assert error["message"] == "'audio' is not supported yet; leave it out."
    assert error["code"] == "unsupported_parameter"


async def test_a_large_body_is_a_413_whether_it_says_its_size_or_not(gateway: Gateway) -> None:
    async def pieces() -> Any:
        for _ in range(160):
            yield b"x" * 65536

    async with gateway.http() as client:
        refused(await client.post("/v1/completions", content=b"x" * (10 << 20)), 413)
        refused(await client.post("/v1/completions", content=pieces()), 413)


async def test_an_unknown_model_or_url_is_a_404(gateway: Gateway) -> None:
    async with gateway.http() as client:
        path, body = chat(model="nothing")
        error = refused(await client.post(path, json=body), 404)
        assert error["code"] == "model_not_found"
        refused(await client.get("/v1/nothing"), 404)
        refused(await client.get("/v1/completions"), 405)


async def test_a_too_long_prompt_is_told_the_numbers(gateway: Gateway) -> None:
    cases = [
        text(prompt="x" * 600),
        text(prompt="x" * 500, max_tokens=20),
        text(prompt=[1] * CONTEXT_TOKENS),
        chat(messages=[{"role": "user", "content": "x" * 600}]),
        chat(max_tokens=CONTEXT_TOKENS),
        text(prompt="x" * 1_000_000),
    ]
    async with gateway.http() as client:
        for path, body in cases:
            error = refused(await client.post(path, json=body), 400)
            assert error["code"] == "context_length_exceeded"
            assert str(CONTEXT_TOKENS) in error["message"]


async def test_an_empty_prompt_is_refused(gateway: Gateway) -> None:
    async with gateway.http() as client:
        path, body = text(prompt="")
        assert refused(await client.post(path, json=body), 400)["code"] == "empty_prompt"


async def test_only_a_key_that_may_infer_gets_in(gateway: Gateway) -> None:
    cases = [(None, 401), ("Bearer", 401), ("Basic abc", 401), ("Bearer wrong", 401)]
    async with httpx.AsyncClient(base_url=gateway.url) as client:
        for header, status in cases:
            headers = {} if header is None else {"authorization": header}
            for method, path in (("GET", "/v1/models"), ("POST", "/v1/chat/completions")):
                error = refused(await client.request(method, path, headers=headers), status)
                assert error["code"] == "invalid_api_key"
    async with gateway.http("test_agent_key") as client:
        error = refused(await client.get("/v1/models"), 403)
        assert error["code"] == "insufficient_permissions"
    async with gateway.http("test_admin_key") as client:
        assert (await client.get("/v1/models")).status_code == 200


async def test_every_route_but_the_probes_asks_who_calls(gateway: Gateway) -> None:
    paths = {
        path: methods
        for router in (health.router, models.router, completions.router, openapi.router)
        for path, methods in ((each.path, each.methods) for each in router.routes)  # type: ignore[attr-defined]
    }
    assert set(paths) == {
        "/livez",
        "/readyz",
        "/v1/openapi.json",
        "/v1/models",
        "/v1/models/{name:path}",
        "/v1/completions",
        "/v1/chat/completions",
    }
    async with httpx.AsyncClient(base_url=gateway.url) as client:
        for path, methods in paths.items():
            for method in methods:
                status = (await client.request(method, path)).status_code
                assert status == (200 if path in ("/livez", "/readyz") else 401), path


async def test_a_projection_that_is_not_confirmed_closes_the_gateway(
    settings: Settings, valkey: Redis, assets: TextAssets
) -> None:
    gateway = Gateway(settings.model_copy(update={"projection_max_age_s": 0.5}), valkey, assets)
    await gateway.start()
    try:
        async with gateway.http() as client:
            assert (await client.get("/livez")).status_code == 200
            assert refused(await client.get("/readyz"), 503)["code"] == "not_ready"
            assert refused(await client.get("/v1/models"), 503)["code"] == "not_ready"
            await gateway.publish()
            assert (await client.get("/readyz")).status_code == 200
            assert (await client.get("/v1/models")).status_code == 200

            async def closed() -> bool:
                return (await client.get("/v1/models")).status_code == 503

            await eventually(closed)
            assert refused(await client.get("/readyz"), 503)["code"] == "projection_too_old"
            await gateway.publish()
            assert (await client.get("/v1/models")).status_code == 200
    finally:
        await gateway.stop()


async def test_a_deployment_that_cannot_serve_says_why(gateway: Gateway) -> None:
    await gateway.publish(unavailable="it is being deleted")
    async with gateway.http() as client:
        path, body = chat()
        error = refused(await client.post(path, json=body), 503)
    assert "it is being deleted" in error["message"]


async def test_a_budget_that_is_spent_is_named_with_when_it_begins_anew(gateway: Gateway) -> None:
    said = "the budget of deployment 'chat', $10 a day, is spent"
    await gateway.publish(over_budget=said, over_budget_s=1200.0)
    async with gateway.http() as client:
        path, body = chat()
        reply = await client.post(path, json=body)
    error = refused(reply, 429)
    assert said in error["message"]
    assert (error["type"], error["code"]) == ("insufficient_quota", "budget_spent")
    assert reply.headers["retry-after"] == "1200"
    assert reply.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("headers", [{}, {"idempotency-key": "once"}])
async def test_whoever_waited_when_a_budget_was_spent_is_told_as_who_asks_then(
    gateway: Gateway, headers: dict[str, str]
) -> None:
    said = "the budget of deployment 'chat', $10 a day, is spent"
    async with gateway.http() as client:
        path, body = chat()
        waiting = asyncio.create_task(client.post(path, json=body, headers=headers))

        async def queued() -> bool:
            return (await gateway.queue.balance()).pending == 1

        await eventually(queued)
        await gateway.publish(over_budget=said, over_budget_s=1200.0)
        await gateway.queue.abandon("budget_spent")
        reply = await waiting
    error = refused(reply, 429)
    assert said in error["message"]
    assert (error["type"], error["code"]) == ("insufficient_quota", "budget_spent")
    assert reply.headers["retry-after"] == "1200"
    assert reply.headers["x-should-retry"] == "false"


def refused(reply: httpx.Response, status: int) -> dict[str, Any]:
    """The error, which must be in OpenAI's shape."""
    assert reply.status_code == status, reply.text
    assert reply.headers["x-request-id"]
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"] and error["type"]
    return dict(error)


@pytest.mark.parametrize("given", ["", "a b", "x" * 200])
async def test_an_odd_request_id_is_replaced(gateway: Gateway, given: str) -> None:
    async with gateway.http() as client:
        reply = await client.get("/v1/models", headers={"x-request-id": given})
    assert reply.headers["x-request-id"].startswith("req-")
