"""What `/readyz` says of the whole platform: ready, or why not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httpx

_READY_LIMIT_S = 60.0
_SILENT_S = 3.0
"""A start that takes longer says what it waits for."""
_LOOK_EVERY_S = 0.1

_ANSWER_LIMIT_S = 5.0
"""Longer than what the parts give to a database or a Redis that says nothing."""


class NotReady(RuntimeError):
    """The platform did not come up in time; the message says what it waited for."""


async def wait_until_ready(
    url: str,
    check_programs: Callable[[], None],
    say: Callable[[str], None],
    limit_s: float = _READY_LIMIT_S,
    silent_s: float = _SILENT_S,
) -> None:
    """Wait; after `silent_s` say what for, once for each reason.

    Raises:
        NotReady: not within `limit_s`.
        StartFailed: `check_programs` found that a program has ended.
    """
    began = time.monotonic()
    said = ""
    while (reason := await why_not_ready(url)) is not None:
        check_programs()
        waited_s = time.monotonic() - began
        if waited_s > limit_s:
            raise NotReady(f"the platform was not ready after {limit_s:.0f} s: {reason}")
        if waited_s > silent_s and reason != said:
            say(f"waiting for the platform to be ready: {reason}")
            said = reason
        await asyncio.sleep(_LOOK_EVERY_S)


async def why_not_ready(url: str) -> str | None:
    """Why API, gateway and (through its projection) the controller cannot all do their work yet;
    None where they can."""
    try:
        async with httpx.AsyncClient(
            timeout=_ANSWER_LIMIT_S, trust_env=False, verify=False
        ) as client:
            reply = await client.get(f"{url}/readyz")
    except httpx.HTTPError as error:
        return f"{url} does not answer ({str(error) or type(error).__name__})"
    return None if reply.is_success else _reason(reply)


def _reason(reply: httpx.Response) -> str:
    """What the parts say that is not well, the API's first: it knows what the others wait for."""
    try:
        parts = reply.json()
    except ValueError:
        parts = {}
    said = [_detail(parts.get(name)) for name in ("api", "gateway")] if parts else []
    return "; ".join(filter(None, said)) or f"/readyz answers {reply.status_code}"


def _detail(answer: Any) -> str:
    """The sentence in an RFC 9457 problem, or in an error of OpenAI's shape."""
    match answer:
        case {"detail": str(detail)} | {"error": {"message": str(detail)}}:
            return detail.rstrip(".")
        case _:
            return ""
