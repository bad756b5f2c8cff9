"""The local cloud, as the control plane sees it: HTTP over the host daemon's Unix socket."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import httpx
import msgspec

from infra.cloud.base import CloudError, CloudInstance, LaunchRequest

_REPLY_LIMIT_S = 10.0

T = TypeVar("T")


class LocalCloud:
    """An `infra.cloud.base.Cloud`; it belongs to the event loop that uses it first."""

    def __init__(self, socket_path: Path) -> None:
        self._socket_path = socket_path
        self._http = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(socket_path), verify=False),
            base_url="http://host-daemon",
            timeout=_REPLY_LIMIT_S,
        )

    async def launch(self, request: LaunchRequest) -> CloudInstance:
        reply = await self._send("POST", "/instances", msgspec.json.encode(request))
        return _read(reply, CloudInstance)

    async def describe(self) -> Sequence[CloudInstance]:
        return _read(await self._send("GET", "/instances"), list[CloudInstance])

    async def terminate(self, instance_id: str) -> None:
        await self._send("DELETE", f"/instances/{quote(instance_id, safe='')}")

    async def close(self) -> None:
        await self._http.aclose()

    async def _send(self, method: str, path: str, body: bytes | None = None) -> httpx.Response:
        try:
            reply = await self._http.request(method, path, content=body)
        except httpx.HTTPError as error:
            raise CloudError(
                f"the host daemon does not answer at {self._socket_path} "
                f"({type(error).__name__}): is 'tamer up' running?",
                retryable=True,
            ) from error
        if reply.is_success:
            return reply
        raise _refusal(reply)


class _Refusal(msgspec.Struct):
    error: str
    retryable: bool


def _refusal(reply: httpx.Response) -> CloudError:
    try:
        refusal = msgspec.json.decode(reply.content, type=_Refusal)
    except (msgspec.ValidationError, msgspec.DecodeError):
        return CloudError(f"the host daemon answered {reply.status_code}", retryable=True)
    return CloudError(refusal.error, retryable=refusal.retryable)


def _read(reply: httpx.Response, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(reply.content, type=kind)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise CloudError(
            f"the host daemon answered something else: {error}", retryable=True
        ) from error
