"""Sends one request through Locust's HTTP session, reads its stream, records what it was like."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from locust.clients import HttpSession, ResponseContextManager
from requests import RequestException

from loadtests.statistics.record import Outcome, RequestRecord
from loadtests.traffic.stream import StreamError, StreamReader

_CONNECT_LIMIT_S = 10.0
_SILENCE_LIMIT_S = 120.0
"""Between two bytes; a waiting stream is kept alive by comments."""
_READ_BYTES = 8192
_ERROR_CHARS = 200


@dataclass(slots=True)
class _Exchange:
    """A request under way."""

    sent_s: float
    reader: StreamReader = field(default_factory=StreamReader)
    outcome: Outcome = Outcome.UNFINISHED
    error: str = ""
    done_s: float | None = None
    usage: tuple[int, int] = (0, 0)


class StreamClient:
    """`report` takes the record of every request, however it ended."""

    def __init__(
        self,
        session: HttpSession,
        api_key: str,
        started_s: float,
        limit_s: float,
        report: Callable[[RequestRecord], None],
    ) -> None:
        self._session = session
        self._headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._started_s = started_s
        self._limit_s = limit_s
        self._report = report

    def stream(self, kind: str, path: str, body: dict[str, Any], lag_ms: float = 0.0) -> str | None:
        """The text of the answer; None if it failed (which is on record)."""
        body = {**body, "stream": True, "stream_options": {"include_usage": True}}
        exchange = _Exchange(sent_s=time.monotonic())
        try:
            with self._session.post(
                path,
                json=body,
                headers=self._headers,
                name=path if kind != "conversation" else f"{path} (conversation)",
                stream=True,
                catch_response=True,
                timeout=(_CONNECT_LIMIT_S, _SILENCE_LIMIT_S),
            ) as response:
                try:
                    self._read(response, exchange)
                finally:
                    response.close()
                self._tell_locust(response, exchange)
        finally:
            # Also when the test ends in mid-stream and Locust kills this greenlet.
            self._report(self._record(kind, exchange, lag_ms))
        return exchange.reader.text if exchange.outcome is Outcome.COMPLETED else None

    def _read(self, response: ResponseContextManager, exchange: _Exchange) -> None:
        try:
            _refuse_errors(response)
            for line in response.iter_lines(chunk_size=_READ_BYTES):
                now_s = time.monotonic()
                exchange.reader.feed(line, now_s)
                if exchange.reader.done and exchange.done_s is None:
                    exchange.done_s = now_s
                if now_s - exchange.sent_s > self._limit_s:
                    raise StreamError(f"not at its end after {self._limit_s:g} s")
            exchange.usage = exchange.reader.usage()
            exchange.outcome = Outcome.COMPLETED
        except (RequestException, StreamError) as error:
            exchange.outcome = Outcome.FAILED
            said = str(error) if isinstance(error, StreamError) else type(error).__name__
            exchange.error = said[:_ERROR_CHARS]

    def _tell_locust(self, response: ResponseContextManager, exchange: _Exchange) -> None:
        ended_s = exchange.done_s or time.monotonic()
        meta: Any = response.request_meta
        # Without this Locust would count the time to the headers as the time of the request.
        meta["response_time"] = (ended_s - exchange.sent_s) * 1000
        meta["response_length"] = len(exchange.reader.text.encode())
        if exchange.error:
            response.failure(exchange.error)
        else:
            response.success()

    def _record(self, kind: str, exchange: _Exchange, lag_ms: float) -> RequestRecord:
        reader = exchange.reader
        done_s = exchange.done_s
        return RequestRecord(
            kind=kind,
            outcome=exchange.outcome,
            sent_s=exchange.sent_s - self._started_s,
            ended_s=(done_s or time.monotonic()) - self._started_s,
            lag_ms=lag_ms,
            ttft_ms=reader.ttft_ms(exchange.sent_s),
            e2e_ms=(done_s - exchange.sent_s) * 1000 if done_s is not None else None,
            gaps_ms=reader.gaps_ms(),
            prompt_tokens=exchange.usage[0],
            output_tokens=exchange.usage[1],
            error=exchange.error,
        )


def _refuse_errors(response: ResponseContextManager) -> None:
    if response.error is not None:
        raise StreamError(f"no answer: {type(response.error).__name__}")
    if response.status_code == 200:
        return
    try:
        message = msgspec.json.decode(response.content)["error"]["message"]
    except (msgspec.DecodeError, KeyError, TypeError):
        message = response.reason or "no reason given"
    raise StreamError(f"{response.status_code}: {message}")
