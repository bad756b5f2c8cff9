"""Log lines of the agent and its engines, on their way to Redis so that they outlive the machine.

Nothing that computes ever waits for them: lines go into a bounded buffer, the oldest are the first
to be lost, and how many were is said.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict, deque

from infra.backoff import Backoff
from infra.connection import REDIS_AWAY, RedisClient
from infra.log_stream import append_lines

_MAX_LINES = 2000
_BATCH_LINES = 500
_PAUSE_S = 0.25


class LogShipper:
    def __init__(self, tokens: RedisClient) -> None:
        self._tokens = tokens
        self._lines: deque[tuple[str, str]] = deque()
        self._dropped = 0

    def put(self, subject_id: str, line: str) -> None:
        if len(self._lines) >= _MAX_LINES:
            self._lines.popleft()
            self._dropped += 1
        self._lines.append((subject_id, line))

    async def ship_forever(self) -> None:
        backoff = Backoff(first_s=_PAUSE_S, limit_s=5.0)
        while True:
            try:
                await self.ship()
            except REDIS_AWAY:
                await backoff.pause()
                continue
            backoff.reset()
            await asyncio.sleep(_PAUSE_S)

    async def ship(self) -> None:
        """Send what is here, in order and in batches; what cannot be sent stays."""
        while self._lines:
            batch = [self._lines.popleft() for _ in range(min(len(self._lines), _BATCH_LINES))]
            by_subject: defaultdict[str, list[str]] = defaultdict(list)
            for subject_id, line in batch:
                by_subject[subject_id].append(line)
            dropped, self._dropped = self._dropped, 0
            if dropped:
                by_subject[batch[0][0]].insert(0, f"({dropped} lines were lost before this one)")
            try:
                for subject_id, lines in by_subject.items():
                    await append_lines(self._tokens, subject_id, lines)
            except REDIS_AWAY:
                self._dropped += dropped
                self._lines.extendleft(reversed(batch))
                raise


class ShippingHandler(logging.Handler):
    """Ships each record of this process under the replica it names, else under the instance."""

    def __init__(self, shipper: LogShipper, instance_id: str) -> None:
        super().__init__()
        self._shipper = shipper
        self._instance_id = instance_id

    def emit(self, record: logging.LogRecord) -> None:
        fields = record.msg if isinstance(record.msg, dict) else {}
        subject_id = str(fields.get("replica_id", self._instance_id))
        self._shipper.put(subject_id, self.format(record))
