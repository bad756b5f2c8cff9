"""Spot interruption warnings and rebalance recommendations, from EventBridge through SQS.

A message stays in the queue until it is deleted: one that was received and not acted upon comes
again when its visibility timeout is over, to whoever asks then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from infra.cloud.aws.access import AwsAccess
from infra.cloud.base import Notice, NoticeKind
from infra.cloud.refusals import Refusal
from infra.telemetry import logger

_KINDS = {
    "EC2 Spot Instance Interruption Warning": NoticeKind.INTERRUPTION,
    "EC2 Instance Rebalance Recommendation": NoticeKind.REBALANCE,
}
_AT_ONCE = 10
_MOST = 200
_HIDDEN_S = 30
"""An interruption leaves two minutes: a controller that died with it must not cost all of them."""

_log = logger(__name__)


class EventQueue:
    def __init__(self, access: AwsAccess, url: str) -> None:
        """`url` may be empty: then nothing is ever announced."""
        self._access = access
        self._url = url

    def receive(self) -> list[Notice]:
        """What waits, at most 200 notices. Raises Refusal: and nothing was heard before."""
        notices: list[Notice] = []
        try:
            self._receive(notices)
        except Refusal:
            if not notices:  # else the queue would hide what it has handed out
                raise
        return notices

    def _receive(self, notices: list[Notice]) -> None:
        while self._url and len(notices) < _MOST:
            answer = self._access.call(
                "sqs",
                "receive_message",
                QueueUrl=self._url,
                MaxNumberOfMessages=_AT_ONCE,
                VisibilityTimeout=_HIDDEN_S,
                WaitTimeSeconds=0,
            )
            messages = answer.get("Messages", [])
            if not messages:
                return
            told = [(message, _notice(message)) for message in messages]
            notices += [notice for _, notice in told if notice is not None]
            others = [message["ReceiptHandle"] for message, notice in told if notice is None]
            if others:
                # They would come again until they expire. Their text is not ours to log.
                _log.warning("messages of the events queue are no notices; deleted", n=len(others))
                self._delete(others)

    def delete(self, notices: Sequence[Notice]) -> None:
        """Deleting one twice is fine. Raises Refusal."""
        for start in range(0, len(notices), _AT_ONCE):
            self._delete([each.receipt for each in notices[start : start + _AT_ONCE]])

    def _delete(self, receipts: Sequence[str]) -> None:
        entries = [{"Id": str(i), "ReceiptHandle": each} for i, each in enumerate(receipts)]
        self._access.call("sqs", "delete_message_batch", QueueUrl=self._url, Entries=entries)


class _Detail(msgspec.Struct):
    cloud_id: str = msgspec.field(name="instance-id")


class _Event(msgspec.Struct):
    kind: str = msgspec.field(name="detail-type")
    time: datetime
    detail: _Detail


def _notice(message: Mapping[str, Any]) -> Notice | None:
    """None: it is not an event of ours."""
    try:
        event = msgspec.json.decode(message["Body"], type=_Event)
    except (msgspec.ValidationError, msgspec.DecodeError):
        return None
    kind = _KINDS.get(event.kind)
    if kind is None:
        return None
    at = event.time.timestamp()
    return Notice(kind, event.detail.cloud_id, at, str(message["ReceiptHandle"]))
