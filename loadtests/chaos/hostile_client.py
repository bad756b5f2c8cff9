"""A client that leaves when it hurts most: raw HTTP/1.1, cut off at a chosen stage."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from enum import Enum

_LIMIT_S = 120.0
_PIPELINED = 64
_MIDDLE = 5
"""Events after which a stream is in its middle."""


class Stage(Enum):
    """How far the client goes before it leaves."""

    CONNECTED = "connected"
    HALF_HEAD = "half a head"
    HALF_BODY = "half a body"
    SENT = "sent"
    """Before the head of the answer."""
    QUEUED = "queued"
    """With the head of the answer: the job waits, or has just been leased."""
    FIRST_TOKEN = "first token"
    MID_STREAM = "mid-stream"
    LAST_TOKEN = "last token"
    """With the finish reason, before `[DONE]`."""
    DONE = "done"
    WHOLE = "whole answer"
    """An answer that is not streamed, left while it is computed."""
    PIPELINED = "pipelined flood"


_MARKS = {
    Stage.QUEUED: (b"\r\n", 1),
    Stage.FIRST_TOKEN: (b"data: ", 1),
    Stage.MID_STREAM: (b"data: ", _MIDDLE),
    Stage.LAST_TOKEN: (b'"finish_reason":"', 1),
    Stage.DONE: (b"data: [DONE]", 1),
}
"""What a line begins with or holds, and how often, when the stage is reached."""


@dataclass(frozen=True, slots=True)
class HostileClient:
    host: str
    port: int
    key: str
    model: str
    max_tokens: int

    async def leave_at(self, stage: Stage, *, abruptly: bool) -> bool:
        """Go as far as the stage and leave, with a reset where `abruptly`.

        Returns False where the server ended the connection before.
        """
        try:
            async with asyncio.timeout(_LIMIT_S):
                reader, writer = await asyncio.open_connection(self.host, self.port)
                try:
                    writer.write(self._words(stage))
                    await writer.drain()
                    return await _reach(stage, reader)
                finally:
                    if abruptly:
                        writer.transport.abort()
                    writer.close()
        except ConnectionError:
            return False

    def _words(self, stage: Stage) -> bytes:
        request = self._request(stream=stage is not Stage.WHOLE)
        match stage:
            case Stage.CONNECTED:
                return b""
            case Stage.HALF_HEAD:
                return request[:40]
            case Stage.HALF_BODY:
                return request[:-10]
            case Stage.PIPELINED:
                return request * _PIPELINED
            case _:
                return request

    def _request(self, *, stream: bool) -> bytes:
        body = json.dumps(
            {
                "model": self.model,
                "prompt": "Once upon a time",
                "max_tokens": self.max_tokens,
                "ignore_eos": True,
                "stream": stream,
            }
        ).encode()
        head = (
            "POST /v1/completions HTTP/1.1",
            f"host: {self.host}",
            f"authorization: Bearer {self.key}",
            "content-type: application/json",
            f"content-length: {len(body)}",
        )
        return "\r\n".join((*head, "", "")).encode() + body


async def _reach(stage: Stage, reader: asyncio.StreamReader) -> bool:
    if stage not in _MARKS:
        return True
    mark, times = _MARKS[stage]
    while times:
        line = await reader.readline()
        if not line:
            return False
        found = line == mark if stage is Stage.QUEUED else mark in line
        times -= found
    return True
