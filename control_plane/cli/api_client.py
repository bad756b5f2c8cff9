"""The REST API and the gateway, as commands use them; every failure is a `CommandError`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, cast
from urllib.parse import urlsplit

import httpx

from control_plane.cli.credentials import Credentials, find_server
from control_plane.cli.exits import CommandError, ExitCode
from infra.address import is_loopback
from infra.settings import Settings

_API = "/api/v1"
_PAGE = 200
_LIMITS = httpx.Timeout(30.0, connect=5.0)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the body of a refusal says."""

    message: str
    kind: str = ""
    """The `code` of an error in OpenAI's shape."""
    fields: dict[str, str] = field(default_factory=dict)
    """The reason for each refused field ("scaling.min_replicas")."""


class ServerError(CommandError):
    """The server said no."""

    def __init__(self, message: str, code: ExitCode, status: int, refusal: Refusal) -> None:
        super().__init__(message, code)
        self.status = status
        self.kind = refusal.kind
        self.fields = refusal.fields


class ApiClient:
    """An async context. Paths are relative to `/api/v1`; `stream` takes a whole path."""

    def __init__(self, server: Credentials) -> None:
        self.url = server.url
        self._server = server
        headers = {"authorization": f"Bearer {server.key}"} if server.key else {}
        self._http = httpx.AsyncClient(
            base_url=server.url,
            headers=headers,
            timeout=_LIMITS,
            verify=server.url.startswith("https"),  # certificates take long to load
            trust_env=not is_loopback(_host(server.url)),  # a proxy does not know our loopback
        )

    @classmethod
    def of(cls, settings: Settings) -> ApiClient:
        """A client of the server that the environment or `tamer up` names."""
        return cls(find_server(settings))

    async def __aenter__(self) -> ApiClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def get(self, path: str, **parameters: Any) -> Json:
        return await self._call("GET", path, params=parameters)

    async def post(self, path: str, body: Json) -> Json:
        return await self._call("POST", path, json=body)

    async def put(self, path: str, body: Json, **parameters: Any) -> Json:
        return await self._call("PUT", path, json=body, params=parameters)

    async def delete(self, path: str) -> Json:
        return await self._call("DELETE", path)

    async def find(self, path: str) -> Json | None:
        """Like `get`; None where there is no such thing."""
        try:
            return await self.get(path)
        except ServerError as error:
            if error.status == httpx.codes.NOT_FOUND:
                return None
            raise

    async def list(self, path: str, most: int | None = None, **parameters: Any) -> list[Json]:
        """All entries of a list (or the first `most`), page by page."""
        found: list[Json] = []
        cursor: str | None = None
        while True:
            limit = _PAGE if most is None else min(_PAGE, most - len(found))
            page = {"limit": limit, **parameters} | ({"cursor": cursor} if cursor else {})
            reply = await self.get(path, **page)
            found += reply["data"]
            cursor = reply.get("next_cursor")
            if not cursor or (most is not None and len(found) >= most):
                return found

    @asynccontextmanager
    async def stream(self, path: str, body: Json) -> AsyncIterator[httpx.Response]:
        """A reply that is read while it is written; it may take as long as it wants."""
        limits = httpx.Timeout(None, connect=5.0)
        try:
            async with self._http.stream("POST", path, json=body, timeout=limits) as reply:
                if not reply.is_success:
                    await reply.aread()
                    raise self._refusal(reply)
                yield reply
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    async def _call(self, method: str, path: str, **arguments: Any) -> Json:
        try:
            reply = await self._http.request(method, _API + path, **arguments)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        if not reply.is_success:
            raise self._refusal(reply)
        try:
            return cast(Json, reply.json())
        except ValueError as error:
            raise CommandError(
                f"{self.url} answered something that is not Tamer's API: check TAMER_URL",
                ExitCode.UNREACHABLE,
            ) from error

    def _unreachable(self, error: httpx.HTTPError) -> CommandError:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            why = f"no server at {self.url}: start one with 'tamer up', or set TAMER_URL"
        elif isinstance(error, httpx.TimeoutException):
            why = f"{self.url} did not answer in time: look at 'tamer status', try again"
        else:
            why = f"the connection to {self.url} broke before the answer was whole: try again"
        return CommandError(why, ExitCode.UNREACHABLE)

    def _refusal(self, reply: httpx.Response) -> ServerError:
        refusal = _said(reply)
        message = refusal.message
        status = reply.status_code
        if status == httpx.codes.UNAUTHORIZED:
            message = f"{self.url} refuses us: {self._server.key_advice}"
        code = ExitCode.REFUSED
        if status == httpx.codes.NOT_FOUND:
            code = ExitCode.NOT_FOUND
        elif status in (httpx.codes.BAD_GATEWAY, httpx.codes.SERVICE_UNAVAILABLE):
            code = ExitCode.UNREACHABLE
        elif status >= httpx.codes.INTERNAL_SERVER_ERROR:
            code = ExitCode.FAILED
            message += f" (request {reply.headers.get('x-request-id', 'without id')})"
        return ServerError(message, code, status, refusal)


def _said(reply: httpx.Response) -> Refusal:
    """Read a problem (RFC 9457) or an error in OpenAI's shape."""
    nothing = f"{reply.request.method} {reply.request.url.path} was answered {reply.status_code}"
    try:
        body = reply.json()
    except ValueError:
        return Refusal(nothing)
    if not isinstance(body, dict):
        return Refusal(nothing)
    error = body.get("error")
    if isinstance(error, dict):
        return Refusal(str(error.get("message") or nothing), str(error.get("code") or ""))
    fields = {
        str(each.get("field", "")): str(each.get("message", ""))
        for each in body.get("errors") or []
        if isinstance(each, dict)
    }
    return Refusal(str(body.get("detail") or body.get("title") or nothing), fields=fields)


def _host(url: str) -> str:
    """Raises:
    CommandError: this is no URL of a server.
    """
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no port
        known = False
    if not known:
        raise CommandError(
            f"TAMER_URL={url} is no URL: write it like http://127.0.0.1:8000", ExitCode.USAGE
        )
    return str(parts.hostname)
