"""A client of event streams that costs next to nothing, for it shares its core with what it loads.

It speaks just enough HTTP/1.1: it collects the bytes and looks into them when all have come.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec

_READ_BYTES = 1 << 16
_END = b"data: [DONE]"
_EVENT = re.compile(rb'data: \{[^\n]*?"text": ?"(?!")')
_USAGE = re.compile(rb'"completion_tokens": ?(\d+)')


class StreamFailed(RuntimeError):
    """The answer is not what was asked for; the message quotes it."""


@dataclass(frozen=True, slots=True)
class Streamed:
    tokens: int
    events: int
    """Events with text."""


@dataclass(frozen=True, slots=True)
class Wave:
    """Streams that ran at the same time."""

    tokens: int
    events: int
    requests: int
    elapsed_s: float

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.elapsed_s

    @property
    def requests_per_s(self) -> float:
        return self.requests / self.elapsed_s


class StreamClient:
    """Text completions of token-id prompts, greedy, exactly `max_tokens` long."""

    def __init__(self, url: str, key: str, model: str, limit_s: float = 120.0) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._key = key
        self._model = model
        self._limit_s = limit_s

    async def wave(self, prompts: Sequence[Sequence[int]], max_tokens: int) -> Wave:
        """All prompts at once; the time is from the first byte sent to the last one received."""
        began = time.perf_counter()
        done = await asyncio.gather(*(self.stream(prompt, max_tokens) for prompt in prompts))
        return _wave(done, time.perf_counter() - began)

    async def loop(
        self, prompts: Sequence[Sequence[int]], max_tokens: int, duration_s: float
    ) -> Wave:
        """A closed loop for each prompt; what is under way at the end is finished and counted."""
        began = time.perf_counter()

        async def repeat(prompt: Sequence[int]) -> list[Streamed]:
            done = []
            while time.perf_counter() - began < duration_s:
                done.append(await self.stream(prompt, max_tokens))
            return done

        lists = await asyncio.gather(*map(repeat, prompts))
        return _wave([each for done in lists for each in done], time.perf_counter() - began)

    async def stream(
        self, prompt: str | Sequence[int], max_tokens: int, traceparent: str = ""
    ) -> Streamed:
        """`traceparent`: W3C Trace Context, so that the server records the request.

        Raises:
            StreamFailed: any answer but a whole stream of `max_tokens` tokens.
        """
        try:
            async with asyncio.timeout(self._limit_s):
                answer = await self._exchange(self._request(prompt, max_tokens, traceparent))
        except (OSError, TimeoutError) as error:
            raise StreamFailed(f"{type(error).__name__}: {error}") from error
        usage = _USAGE.findall(answer)
        if not answer.startswith(b"HTTP/1.1 200") or _END not in answer or not usage:
            raise StreamFailed(answer[-500:].decode(errors="replace"))
        tokens = int(usage[-1])
        if tokens != max_tokens:
            raise StreamFailed(f"{tokens} tokens where {max_tokens} were asked for")
        return Streamed(tokens, len(_EVENT.findall(answer)))

    async def _exchange(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            writer.write(request)
            answer = bytearray()
            while chunk := await reader.read(_READ_BYTES):
                answer += chunk
            return bytes(answer)
        finally:
            writer.close()

    def _request(self, prompt: str | Sequence[int], max_tokens: int, traceparent: str) -> bytes:
        body: dict[str, Any] = {
            "model": self._model,
            "prompt": prompt,
            "max_tokens": max_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        content = msgspec.json.encode(body)
        head = (
            f"POST /v1/completions HTTP/1.1\r\nhost: {self._host}:{self._port}\r\n"
            f"authorization: Bearer {self._key}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(content)}\r\nconnection: close\r\n"
        )
        head += f"traceparent: {traceparent}\r\n\r\n" if traceparent else "\r\n"
        return head.encode() + content


def _wave(done: Sequence[Streamed], elapsed_s: float) -> Wave:
    return Wave(
        tokens=sum(each.tokens for each in done),
        events=sum(each.events for each in done),
        requests=len(done),
        elapsed_s=elapsed_s,
    )
