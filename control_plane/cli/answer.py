"""An answer over `/v1`: messages in, its pieces out as they are written."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

from control_plane.cli.api_client import ApiClient, Json, ServerError
from control_plane.cli.exits import CommandError, ExitCode

_WAITING = "waiting for a replica"
"""The gateway's comment until the first token."""


@dataclass(slots=True)
class Answer:
    """What is known of an answer when its stream has ended."""

    text: str = ""
    finish_reason: str = ""
    usage: Json = field(default_factory=dict)
    first_token_s: float = 0.0
    total_s: float = 0.0

    @property
    def figures(self) -> str:
        """E.g. "9 tokens, first after 0.31 s, 24.1 tokens/s"."""
        tokens = int(self.usage.get("completion_tokens", 0))
        said = f"{tokens} tokens, first after {self.first_token_s:.2f} s"
        writing_s = self.total_s - self.first_token_s
        if tokens > 1 and writing_s > 0:
            said += f", {(tokens - 1) / writing_s:.1f} tokens/s"
        return said


async def ask(
    client: ApiClient,
    model: str,
    messages: Sequence[Json],
    options: Json,
    answer: Answer,
    say: Callable[[str], None],
) -> AsyncIterator[str]:
    """Stream one answer; `answer` is filled on the way, and `say` told why nothing comes yet.

    Raises:
        CommandError: the request was refused, or the stream ended early.
    """
    body = {
        "model": model,
        "messages": list(messages),
        "stream": True,
        "stream_options": {"include_usage": True},
        **options,
    }
    began = time.monotonic()
    done = False
    told = ""
    async with _completion(client, body) as reply:
        async for line in reply.aiter_lines():
            if line.startswith(":"):
                said = await _comment(client, model, line[1:].strip())
                if said != told:
                    told = said
                    say(f"{model}: {said}")
            if not line.startswith("data: "):
                continue
            if line == "data: [DONE]":
                done = True
                break
            piece = _take(json.loads(line[6:]), answer)
            if piece:
                answer.first_token_s = answer.first_token_s or time.monotonic() - began
                answer.text += piece
                yield piece
    answer.total_s = time.monotonic() - began
    if not done:
        raise CommandError("the answer ended early, the connection was closed: try again")


async def _comment(client: ApiClient, model: str, comment: str) -> str:
    """What the gateway says while nothing comes, with what the deployment says of itself: why its
    replicas do not start. Who may not ask for that is told the first alone."""
    if comment != _WAITING:
        return comment
    try:
        deployment = await client.get(f"/deployments/{model}")
    except CommandError:
        return comment
    reason = str(deployment.get("reason") or "")
    return f"{comment} ({deployment.get('state')}: {reason})" if reason else comment


@asynccontextmanager
async def _completion(client: ApiClient, body: Json) -> AsyncIterator[httpx.Response]:
    try:
        async with client.stream("/v1/chat/completions", body) as reply:
            yield reply
    except ServerError as error:
        if error.kind != "model_not_found":
            raise
        raise CommandError(
            f"there is no deployment '{body['model']}'; 'tamer status' lists what there is",
            ExitCode.NOT_FOUND,
        ) from error


def _take(chunk: Json, answer: Answer) -> str:
    if "error" in chunk:
        raise CommandError(str(chunk["error"].get("message", "the server gave up")))
    answer.usage = chunk.get("usage") or answer.usage
    for choice in chunk.get("choices", []):
        answer.finish_reason = choice.get("finish_reason") or answer.finish_reason
        return str(choice.get("delta", {}).get("content") or "")
    return ""
