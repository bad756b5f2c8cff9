"""The main job on one machine: `tamer up`, then a real model through every process."""

from __future__ import annotations

import json
import os
import signal
import threading
from typing import Any

import httpx
import pytest
import tokenizers

from loadtests.paced.context_hash import expected_tokens
from tests.fixtures.platform import Platform
from tests.fixtures.waiting import block_until

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
STORY = [{"role": "user", "content": "Tell me a short story about a lighthouse."}]

PACED = {
    "name": "paced",
    "model": "smollm2",
    "engine": {"kind": "paced", "options": {"tokens_per_s": 40.0, "max_running": 32}},
    "scaling": {"min_replicas": 0, "max_replicas": 1, "idle_s": 3.0},
}
EXACT = {
    "name": "exact",
    "model": "smollm2",
    "engine": {"exact": True, "max_context_tokens": 512},
    "scaling": {"min_replicas": 1, "max_replicas": 1},
}


def test_up_prints_an_answer_and_how_to_go_on(platform: Platform) -> None:
    assert "Paris" in platform.output
    for part in (platform.url, platform.key, "curl", '"temperature": 0, "max_tokens": 64'):
        assert part in platform.output


def test_chat_answers_through_the_official_client(platform: Platform) -> None:
    reply = platform.openai().chat.completions.create(
        model="smollm2", messages=QUESTION, temperature=0, max_tokens=20
    )
    assert reply.choices[0].message.content is not None
    assert "Paris" in reply.choices[0].message.content
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


def test_a_stream_carries_the_same_answer_and_its_usage(platform: Platform) -> None:
    chunks = list(
        platform.openai().chat.completions.create(
            model="smollm2",
            messages=QUESTION,
            temperature=0,
            max_tokens=20,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert "Paris" in text
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0


def test_the_same_seed_gives_the_same_text(platform: Platform) -> None:
    def answer(seed: int) -> str:
        reply = platform.openai().chat.completions.create(
            model="smollm2", messages=STORY, temperature=1.0, seed=seed, max_tokens=16
        )
        return str(reply.choices[0].message.content)

    assert answer(7) == answer(7)
    assert answer(7) != answer(8)


def test_completions_take_several_prompts_and_choices(platform: Platform) -> None:
    reply = platform.openai().completions.create(
        model="smollm2", prompt=["The sea is", "The sky is"], n=2, max_tokens=4, seed=1
    )
    assert [choice.index for choice in reply.choices] == [0, 1, 2, 3]


def test_an_answer_matches_its_schema(platform: Platform) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}},
        "required": ["city"],
        "additionalProperties": False,
    }
    reply = platform.openai().chat.completions.create(
        model="smollm2",
        messages=QUESTION,
        response_format={"type": "json_schema", "json_schema": {"name": "it", "schema": schema}},
    )
    assert list(json.loads(reply.choices[0].message.content or "")) == ["city"]
    assert reply.choices[0].finish_reason == "stop"


def test_a_demanded_call_is_made_whole_and_in_a_stream(platform: Platform) -> None:
    parameters = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "days": {"enum": [1, 2]}},
        "required": ["city", "days"],
        "additionalProperties": False,
    }
    request: Any = {
        "model": "smollm2",
        "messages": [{"role": "user", "content": "How will the weather in Paris be?"}],
        "tools": [{"type": "function", "function": {"name": "look", "parameters": parameters}}],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "seed": 3,
    }
    client = platform.openai()
    whole = client.chat.completions.create(**request).choices[0]
    assert whole.finish_reason == "tool_calls"
    assert whole.message.content is None
    [call] = whole.message.tool_calls
    assert call.function.name == "look"
    arguments = json.loads(call.function.arguments)
    assert len(arguments["city"]) <= 20
    assert arguments["days"] in (1, 2)
    with client.chat.completions.stream(**request) as stream:
        streamed = stream.get_final_completion().choices[0]
    assert streamed.message.tool_calls[0].function.arguments == call.function.arguments
    assert streamed.finish_reason == "tool_calls"


def test_the_command_line_tells_what_runs_and_why(platform: Platform) -> None:
    status = platform.command("status", "--json")
    assert status.returncode == 0, status.stderr
    assert "smollm2" in status.stdout
    json.loads(status.stdout)
    explained = platform.command("explain", "smollm2")
    assert explained.returncode == 0, explained.stderr
    assert explained.stdout.strip()
    chat = platform.command("chat", "smollm2", "What is the capital of France?")
    assert "Paris" in chat.stdout, chat.stderr
    logs = platform.command("logs", "smollm2")
    assert logs.returncode == 0, logs.stderr
    assert logs.stdout.strip()


def test_a_stream_survives_its_killed_agent_with_the_same_text(platform: Platform) -> None:
    platform.deploy(EXACT)
    platform.wait_for("exact", ready=1)
    undisturbed = _story(platform, kill_after_chunks=None)
    disturbed = _story(platform, kill_after_chunks=8)
    assert disturbed == undisturbed
    assert platform.api.delete("/deployments/exact").status_code == 202


def _story(platform: Platform, kill_after_chunks: int | None) -> str:
    pid = platform.agent_pid("exact") if kill_after_chunks else 0
    text = ""
    stream = platform.openai().chat.completions.create(
        model="exact", messages=STORY, temperature=0, max_tokens=48, stream=True
    )
    for number, chunk in enumerate(stream):
        text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
        if number == kill_after_chunks:
            os.kill(pid, signal.SIGKILL)
    return text


def test_many_streams_from_zero_survive_a_killed_agent_and_then_rest(platform: Platform) -> None:
    """The first request wakes the deployment; a SIGKILL under load costs no token; then to zero."""
    platform.deploy(PACED)
    platform.wait_for("paced", ready=0)
    prompts = [[300 + stream, 400, 500 + stream] for stream in range(12)]
    events: dict[int, list[str]] = {}
    streams = [
        threading.Thread(target=_collect, args=(platform, number, prompt, events))
        for number, prompt in enumerate(prompts)
    ]
    for thread in streams:
        thread.start()
    block_until(
        lambda: sum(len(lines) for lines in events.values()) > 200, "the streams flow", 60.0
    )
    os.kill(platform.agent_pid("paced"), signal.SIGKILL)
    for thread in streams:
        thread.join(timeout=120)
        assert not thread.is_alive()

    tokenizer = model_tokenizer(platform)
    for number, prompt in enumerate(prompts):
        assert any(line.startswith(":") for line in events[number]), "comments kept it alive"
        data = [line[6:] for line in events[number] if line.startswith("data: ")]
        assert data[-1] == "[DONE]"
        text = "".join(json.loads(each)["choices"][0]["text"] for each in data[:-1])
        assert text == tokenizer.decode(expected_tokens(prompt, 160))
    platform.wait_for("paced", ready=0)
    assert platform.api.delete("/deployments/paced").status_code == 202


def _collect(
    platform: Platform, number: int, prompt: list[int], events: dict[int, list[str]]
) -> None:
    lines = events.setdefault(number, [])
    with httpx.stream(
        "POST",
        f"{platform.url}/v1/completions",
        headers={"authorization": f"Bearer {platform.key}"},
        json={"model": "paced", "prompt": prompt, "max_tokens": 160, "stream": True},
        timeout=120,
    ) as reply:
        assert reply.status_code == 200
        for line in reply.iter_lines():
            if line:
                lines.append(line)


def model_tokenizer(platform: Platform) -> tokenizers.Tokenizer:
    [file] = (platform.home / "models").glob("*/tokenizer.json")
    return tokenizers.Tokenizer.from_file(str(file))


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/chat/completions", b"{", 400),
        ("/v1/chat/completions", b'{"model": "nobody", "messages": []}', 400),
        ("/v1/completions", b'{"model": "nobody", "prompt": "x"}', 404),
        ("/v1/completions", b'{"model": "smollm2", "prompt": "x", "temperature": NaN}', 400),
        ("/v1/completions", b'{"model": "smollm2", "prompt": 7}', 400),
        ("/v1/completions", b'{"model": "smollm2", "prompt": "' + b"x " * 20_000 + b'"}', 400),
        ("/v1/completions", b'{"prompt": "' + b"x" * (10 << 20) + b'"}', 413),
        ("/api/v1/deployments", b'{"name": "smollm2", "model": "smollm2"}', 409),
        ("/api/v1/deployments", b'{"name": "x", "model": "../../etc"}', 422),
        ("/api/v1/models", b'{"name": "x", "source": "/../etc/passwd"}', 422),
    ],
)
def test_bad_input_gets_a_clear_refusal(
    platform: Platform, path: str, body: bytes, status: int
) -> None:
    reply = httpx.post(
        platform.url + path,
        content=body,
        headers={"authorization": f"Bearer {platform.key}", "content-type": "application/json"},
        timeout=60,
    )
    assert reply.status_code == status, reply.text
    said = reply.json()
    assert said["error"]["message"] if path.startswith("/v1") else said["detail"]
