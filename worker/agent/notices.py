"""What the machine itself is told of its end: EC2's instance metadata service, version 2.

An interruption is followed by the loss of the machine two minutes later, and is an order to leave.
A rebalance recommendation says only that it may come: the control plane, which hears of it too,
knows whether something else could serve instead, so it is logged and no more.
"""

from __future__ import annotations

from collections.abc import Callable

import httpx
import msgspec

from infra.backoff import Backoff
from infra.telemetry import logger

_TOKEN_PATH = "/latest/api/token"
_INTERRUPTION_PATH = "/latest/meta-data/spot/instance-action"
_REBALANCE_PATH = "/latest/meta-data/events/recommendations/rebalance"
_TOKEN_S = 21600
_POLL_S = 5.0
"""As AWS recommends."""
_TRY_LIMIT_S = 2.0
_LONGEST_PAUSE_S = 60.0

_log = logger(__name__)


class _Away(Exception):
    """No useful answer this time."""


class _Action(msgspec.Struct):
    action: str
    time: str = ""


class Notices:
    """One machine's; `url` is that of the metadata service."""

    def __init__(self, url: str, poll_s: float = _POLL_S) -> None:
        self._url = url
        self._poll_s = poll_s
        self._token = ""
        self._warned = False

    async def watch(self, leave: Callable[[], None]) -> None:
        """Return once the machine is to be taken away, after calling `leave`."""
        backoff = Backoff(self._poll_s, max(self._poll_s, _LONGEST_PAUSE_S))
        async with httpx.AsyncClient(
            base_url=self._url, timeout=_TRY_LIMIT_S, trust_env=False
        ) as client:
            while True:
                try:
                    if await self._interrupted(client):
                        leave()
                        return
                    await self._look_for_warning(client)
                    backoff.reset()
                except _Away as error:
                    _log.debug("no instance metadata", error=str(error))
                await backoff.pause()

    async def _interrupted(self, client: httpx.AsyncClient) -> bool:
        said = await self._read(client, _INTERRUPTION_PATH)
        if said is None:
            return False
        try:
            action = msgspec.json.decode(said, type=_Action)
        except msgspec.DecodeError:
            raise _Away("it is no instance action") from None
        _log.warning("the cloud takes this machine away", action=action.action, at=action.time)
        return True

    async def _look_for_warning(self, client: httpx.AsyncClient) -> None:
        if not self._warned and await self._read(client, _REBALANCE_PATH) is not None:
            self._warned = True
            _log.warning("the cloud may soon take this machine away")

    async def _read(self, client: httpx.AsyncClient, path: str) -> bytes | None:
        """None: there is nothing at this path. Raises _Away."""
        for fresh in (False, True):
            if fresh or not self._token:
                self._token = await self._new_token(client)
            answer = await _ask(client, "GET", path, {"x-aws-ec2-metadata-token": self._token})
            if answer.status_code == httpx.codes.UNAUTHORIZED:
                continue  # the token is too old
            if answer.status_code == httpx.codes.NOT_FOUND:
                return None
            if answer.is_success:
                return answer.content
            raise _Away(f"{path}: {answer.status_code}")
        raise _Away("it accepts none of its own tokens")

    async def _new_token(self, client: httpx.AsyncClient) -> str:
        headers = {"x-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_S)}
        answer = await _ask(client, "PUT", _TOKEN_PATH, headers)
        if not answer.is_success:
            raise _Away(f"no token: {answer.status_code}")
        return answer.text


async def _ask(
    client: httpx.AsyncClient, method: str, path: str, headers: dict[str, str]
) -> httpx.Response:
    try:
        return await client.request(method, path, headers=headers)
    except httpx.HTTPError as error:
        raise _Away(str(error) or type(error).__name__) from error
