"""An answer as server-sent events, from the first byte to `data: [DONE]`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from control_plane.gateway.endings import ending_error
from control_plane.gateway.generation import Generation
from control_plane.gateway.responses import Shape
from control_plane.gateway.sequence import Sequence
from control_plane.http.connection import why_gone
from infra.ending import end_tasks
from infra.states import JobState
from infra.tracing.span import is_recording, now_ns, record

_DONE = b"data: [DONE]\n\n"
_WAITING = b": waiting for a replica\n\n"
_KEEP_ALIVE = b": still working\n\n"


async def events(generation: Generation, shape: Shape, comment_s: float) -> AsyncIterator[bytes]:
    """The stream's body; while nothing comes, a comment every `comment_s` keeps it alive."""
    opened = [False] * len(generation.sequences)
    closed = [False] * len(generation.sequences)
    untold = set(generation.sequences) if is_recording() else set()
    while True:
        choices = _news(generation, shape, opened, closed)
        if choices:
            yield b"".join([event(shape.chunk(each)) for each in choices])
            if untold:  # whoever takes the next piece has written this one
                untold -= _tell_first_write(untold, generation, opened)
        failure = generation.failure
        if failure is not None:
            yield event(msgspec.json.encode(ending_error(failure).body()))
            return
        if all(closed):
            break
        while not await generation.wait(comment_s):
            yield _KEEP_ALIVE if any(opened) else _WAITING
    if shape.include_usage:
        yield event(shape.usage_chunk(generation))
    yield _DONE


def _news(
    generation: Generation, shape: Shape, opened: list[bool], closed: list[bool]
) -> list[dict[str, Any]]:
    """The choices of the chunks that are due."""
    choices: list[dict[str, Any]] = []
    for index, sequence in enumerate(generation.sequences):
        piece, ending = sequence.drain(), sequence.ending
        completed = ending is not None and ending.outcome is JobState.COMPLETED
        if closed[index] or not (piece or completed):
            continue
        opening = None if opened[index] else shape.opening(index)
        opened[index] = True
        if opening is not None:
            choices.append(opening)
        shown = shape.news(index, piece)
        if shown is not None:
            choices.append(shown)
        if ending is not None and completed:
            closed[index] = True
            choices.append(shape.closing(index, ending.finish))
    return choices


def _tell_first_write(
    untold: set[Sequence], generation: Generation, opened: list[bool]
) -> set[Sequence]:
    """Record, for those whose first text has just been written, how long that took since its token
    was read; returns them."""
    pairs = zip(generation.sequences, opened, strict=True)
    written = {sequence for sequence, is_open in pairs if is_open and sequence in untold}
    for sequence in written:
        read_at_s = sequence.first_token_at_s
        if read_at_s is not None:
            record("deliver", round(read_at_s * 1e9), now_ns(), attributes=sequence.identity)
    return written


def event(data: bytes) -> bytes:
    """One server-sent event of JSON."""
    return b"data: %b\n\n" % data


async def disconnected(receive: Receive) -> None:
    """Return when the client has gone; the request's body must have been read."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return


class EventStream(Response):
    """Headers go out at once. When the client leaves, whatever still runs is ended."""

    media_type = "text/event-stream"

    def __init__(self, generation: Generation, shape: Shape, comment_s: float) -> None:
        super().__init__(headers={"cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._generation = generation
        self._shape = shape
        self._comment_s = comment_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._generation:
            sending = asyncio.create_task(self._send(send))
            leaving = asyncio.create_task(disconnected(receive))
            try:
                await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await end_tasks(leaving, sending)
                self._generation.close(why_gone(scope))
        if sending.done() and not sending.cancelled():
            _raise_unless_gone(sending.exception())

    async def _send(self, send: Send) -> None:
        start: Message = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        await send(start)
        async for body in events(self._generation, self._shape, self._comment_s):
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _raise_unless_gone(error: BaseException | None) -> None:
    """A write to a client that has left is no failure of ours."""
    if error is not None and not isinstance(error, OSError):
        raise error
