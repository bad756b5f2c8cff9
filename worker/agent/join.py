"""Joining: a one-time token for an instance id and the addresses of the queue and the streams."""

from __future__ import annotations

import time

import httpx
import msgspec

from infra.backoff import Backoff
from infra.wire import WIRE_VERSION, JoinGrant, JoinRequest

_PATH = "/api/v1/instances/join"
_TRY_LIMIT_S = 10.0
_RETRYABLE = frozenset({408, 425, 429})


class JoinRefused(RuntimeError):
    """The API does not let this agent in; trying again would not help."""


class JoinFailed(RuntimeError):
    """The API could not be reached in time."""


class _Problem(msgspec.Struct):
    detail: str = ""


async def join(url: str, request: JoinRequest, limit_s: float) -> JoinGrant:
    """Join at the API at `url`, trying again for `limit_s` where it is away or ill.

    Raises:
        JoinRefused: the token is unknown, used or too old, or the builds do not fit.
        JoinFailed: no useful answer in time.
    """
    give_up_at = time.monotonic() + limit_s
    backoff = Backoff(first_s=0.2, limit_s=5.0)
    async with httpx.AsyncClient(timeout=_TRY_LIMIT_S) as client:
        while True:
            try:
                return await _ask(client, url, request)
            except _Away as away:
                if time.monotonic() + backoff.next_s > give_up_at:
                    raise JoinFailed(f"cannot join at {url} within {limit_s:g} s: {away}") from away
            await backoff.pause()


class _Away(Exception):
    """No useful answer this time."""


async def _ask(client: httpx.AsyncClient, url: str, request: JoinRequest) -> JoinGrant:
    body = msgspec.json.encode(request)
    headers = {"content-type": "application/json"}
    try:
        response = await client.post(url.rstrip("/") + _PATH, content=body, headers=headers)
    except httpx.InvalidURL as error:
        raise JoinRefused(f"TAMER_JOIN_URL is not an address: {error}") from error
    except httpx.UnsupportedProtocol as error:
        raise JoinRefused(f"TAMER_JOIN_URL must start with http(s)://: {error}") from error
    except httpx.TransportError as error:
        raise _Away(str(error) or type(error).__name__) from error
    if response.is_success:
        return _grant(response)
    if response.status_code < 500 and response.status_code not in _RETRYABLE:
        raise JoinRefused(_refusal(url, response))
    raise _Away(f"it answered {response.status_code}: {_detail(response)}")


def _grant(response: httpx.Response) -> JoinGrant:
    try:
        grant = msgspec.json.decode(response.content, type=JoinGrant)
    except msgspec.DecodeError as error:
        raise JoinRefused(f"the API's grant cannot be read: {error}") from error
    if abs(grant.wire_version - WIRE_VERSION) > 1:
        raise JoinRefused(
            f"the API speaks wire version {grant.wire_version}, this agent {WIRE_VERSION}: "
            "install builds that are at most one version apart"
        )
    return grant


def _refusal(url: str, response: httpx.Response) -> str:
    said = f"{url} refuses this agent ({response.status_code}: {_detail(response)})"
    if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.CONFLICT):
        return said  # in words that say what to do
    return f"{said}; check TAMER_JOIN_URL and the builds of both sides"


def _detail(response: httpx.Response) -> str:
    try:
        detail = msgspec.json.decode(response.content, type=_Problem).detail
    except msgspec.DecodeError:
        detail = ""
    return detail or response.reason_phrase
