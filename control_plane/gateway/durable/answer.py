"""A durable request's answer, as its log tells it: at any gateway, during the run and after it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, cast

import msgspec

from control_plane.gateway.answered import Answered
from control_plane.gateway.display import Piece
from control_plane.gateway.durable.keeper import DurableRequests
from control_plane.gateway.endings import ending_error
from control_plane.gateway.errors import ApiError, unavailable
from control_plane.gateway.event_stream import event
from control_plane.gateway.responses import ChatShape, Shape, TextShape
from control_plane.gateway.sequence import Ending, Finish
from control_plane.gateway.tools.shape import ToolShape
from infra.connection import REDIS_AWAY
from infra.durable.log import OPEN, Found
from infra.states import JobState
from infra.telemetry import logger
from infra.waiting import set_within
from infra.wire import DurableRequest, LogEntry, ShownLogprob

_log = logger(__name__)
_DONE = b"data: [DONE]\n\n"
_WAITING = b": waiting for a replica\n\n"
_KEEP_ALIVE = b": still working\n\n"
_RETRY_S = 1.0
_PAUSE_S = 0.2

Numbered = tuple[int, LogEntry]


class Answer:
    """What was read so far."""

    def __init__(self, request: DurableRequest) -> None:
        self.prompt_tokens = request.prompt_tokens
        self.failure: Ending | None = None
        """The first end that is not `completed`."""
        self._texts: list[list[str]] = [[] for _ in range(request.choices)]
        self._shown: list[list[ShownLogprob]] = [[] for _ in range(request.choices)]
        self._shows_logprobs = request.logprobs
        self._tokens = [0] * request.choices
        self._finishes: dict[int, Finish | None] = {}

    def take(self, entry: LogEntry) -> None:
        self._texts[entry.choice].append(entry.text)
        self._shown[entry.choice] += entry.shown
        self._tokens[entry.choice] += len(entry.tokens)
        if not entry.outcome:
            return
        self._tokens[entry.choice] = entry.output_tokens
        self._finishes[entry.choice] = cast(Finish, entry.finish) or None
        outcome = JobState(entry.outcome)
        if outcome is not JobState.COMPLETED and self.failure is None:
            self.failure = Ending(outcome, None, entry.reason, entry.retry_helps)

    @property
    def output_tokens(self) -> int:
        return sum(self._tokens)

    @property
    def begun(self) -> bool:
        return any(self._texts)

    @property
    def ended(self) -> bool:
        return self.failure is not None or len(self._finishes) == len(self._texts)

    @property
    def choices(self) -> list[Answered]:
        shown = self._shown if self._shows_logprobs else [None] * len(self._texts)
        return [
            Answered("".join(pieces), self._finishes.get(choice), told)
            for choice, (pieces, told) in enumerate(zip(self._texts, shown, strict=True))
        ]


def shape_of(request: DurableRequest) -> Shape:
    kind: Callable[..., Shape] = ChatShape if request.endpoint == "chat" else TextShape
    if request.tools is not None:
        kind = partial(ToolShape, request.tools)
    return kind(
        request.model,
        request.revision_id,
        request.include_usage,
        answer_id=request.request_id,
        created_at=request.created_at,
    )


async def follow(
    durable: DurableRequests, request_id: str, wait_s: float
) -> AsyncIterator[list[Numbered]]:
    """The log from its beginning, and what comes; an empty list when nothing came for `wait_s`.

    The caller leaves when it has seen the end.

    Raises:
        ApiError: this gateway is being stopped, or the log is gone.
    """
    after = 0
    while True:
        if durable.stopping:
            raise unavailable(
                "The gateway is being stopped; the request goes on: read it again.",
                "gateway_stopped",
                _RETRY_S,
            )
        try:
            entries = await _read(durable, request_id, after, wait_s)
        except REDIS_AWAY as error:
            _log.warning("log of a request cannot be read", error=str(error))
            await asyncio.sleep(_PAUSE_S)
            entries = []
        if entries:
            after = entries[-1][0]
        yield entries


async def _read(
    durable: DurableRequests, request_id: str, after: int, wait_s: float
) -> list[Numbered]:
    run = durable.run(request_id)
    written = None if run is None else run.written
    entries = await durable.log.entries(request_id, after)
    if entries:
        return entries
    if written is None:
        entries = await durable.log.next_entries(request_id, after, wait_s)
    elif await set_within(written, wait_s):
        entries = await durable.log.entries(request_id, after)
    if not entries and _cut_short(await durable.log.find(request_id), after):
        raise ending_error(Ending(JobState.FAILED, None, "queue_lost", retry_helps=True))
    return entries


def _cut_short(found: Found | None, after: int) -> bool:
    """Whether a reader who has come this far without an end waits for nothing: the log is gone, or
    Redis came back with an older one that has ended since."""
    return found is None or (found.status != OPEN and found.length <= after)


async def read_whole(durable: DurableRequests, request: DurableRequest, wait_s: float) -> Answer:
    """Wait for the end. Raises as `follow`."""
    answer = Answer(request)
    async for entries in follow(durable, request.request_id, wait_s):
        for _, entry in entries:
            answer.take(entry)
        if answer.ended:
            break
    return answer


async def read_now(durable: DurableRequests, request: DurableRequest) -> Answer:
    answer = Answer(request)
    for _, entry in await durable.log.all_entries(request.request_id):
        answer.take(entry)
    return answer


def whole(request: DurableRequest, answer: Answer) -> dict[str, Any]:
    """The completion object with its `status`; the choices as far as they have come."""
    shape, failure = shape_of(request), answer.failure
    body = shape.whole(answer.choices if answer.begun else [], answer if answer.begun else None)
    if failure is not None:
        return {**body, "status": failure.outcome.value, **ending_error(failure).body()}
    if answer.ended:
        return {**body, "status": JobState.COMPLETED.value}
    return {**body, "status": "in_progress" if answer.begun else JobState.QUEUED.value}


async def events(
    durable: DurableRequests, request: DurableRequest, after: int, comment_s: float
) -> AsyncIterator[bytes]:
    """Server-sent events after event number `after`; each carries its number as its id."""
    shape, answer = shape_of(request), Answer(request)
    if after == 0:
        for choice in range(request.choices):
            opening = shape.opening(choice)
            if opening is not None:
                yield event(shape.chunk(opening))
    try:
        async for entries in follow(durable, request.request_id, comment_s):
            if not entries:
                yield _KEEP_ALIVE if answer.begun else _WAITING
            for number, entry in entries:
                answer.take(entry)
                if answer.failure is not None:
                    yield _numbered(
                        number, msgspec.json.encode(ending_error(answer.failure).body())
                    )
                    return
                shown = _shown(shape, entry)
                if shown is not None and number > after:
                    yield _numbered(number, shape.chunk(shown))
            if answer.ended:
                break
    except ApiError as error:
        yield event(msgspec.json.encode(error.body()))
        return
    if request.include_usage:
        yield event(shape.usage_chunk(answer))
    yield _DONE


def _shown(shape: Shape, entry: LogEntry) -> dict[str, Any] | None:
    """What an entry shows; None where its tokens complete no text."""
    if entry.outcome:
        return shape.closing(entry.choice, cast(Finish, entry.finish) or None)
    return shape.news(entry.choice, Piece(entry.text, entry.shown))


def _numbered(number: int, data: bytes) -> bytes:
    return b"id: %d\n%b" % (number, event(data))
