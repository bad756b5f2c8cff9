"""This machine as an instance of the cloud `joined`: in, at work, in again when it was away."""

from __future__ import annotations

from collections.abc import Callable

from infra.backoff import Backoff
from infra.connection import REDIS_AWAY, connect
from infra.redis_trouble import said_by
from infra.redis_url import parse_redis_url
from infra.settings import Settings
from infra.storage.served import ServedTrees
from infra.wire import JoinGrant, JoinRequest
from worker.agent.join import JoinFailed, join
from worker.agent.leave_order import LeaveOrder
from worker.agent.service import serve
from worker.joining.membership import Membership

_FIRST_TRY_S = 2.0
_NEXT_TRIES_S = 30.0
"""A word about a control plane that is away comes this often."""


class JoinedMachine:
    """One process's time in a control plane; `request` is the same at each join."""

    def __init__(
        self,
        settings: Settings,
        membership: Membership,
        request: JoinRequest,
        say: Callable[[str], None],
        joined: Callable[[], None],
    ) -> None:
        """`joined` is called whenever the control plane has let us in."""
        self._settings = settings
        self._membership = membership
        self._request = request
        self._say = say
        self._joined = joined

    async def live(self, order: LeaveOrder) -> None:
        """Until the order to leave.

        Raises:
            JoinRefused: the control plane does not let this machine in, or not any more.
            UnfitRedis: jobs would be lost in the Redis that the control plane names.
        """
        served = ServedTrees(self._membership.url, self._membership.credential)
        grant = await order.unless_given(self._enter())
        while grant is not None:
            grant = await serve(self._settings, grant, order, served, self._enter)

    async def _enter(self) -> JoinGrant:
        """Join, and see that the queue can be reached; tried for as long as it takes."""
        backoff = Backoff(first_s=1.0, limit_s=15.0)
        while True:
            grant = await self._join()
            self._joined()
            problem = await _unreachable(grant.jobs_url) or await _unreachable(grant.tokens_url)
            if not problem:
                return grant
            self._say(f"{self._membership.url} lets us in, but {problem}; trying again")
            await backoff.pause()

    async def _join(self) -> JoinGrant:
        limit_s = _FIRST_TRY_S
        while True:
            try:
                return await join(self._membership.url, self._request, limit_s)
            except JoinFailed as error:
                self._say(f"{error}; trying again")
                limit_s = _NEXT_TRIES_S


async def _unreachable(redis_url: str) -> str:
    """Why this Redis does not answer; empty where it does."""
    redis = connect(redis_url)
    try:
        await redis.ping()
    except REDIS_AWAY as error:
        return (
            f"its Redis at {parse_redis_url(redis_url).place} does not answer ({said_by(error)}): "
            "open that port for this machine"
        )
    finally:
        await redis.aclose()
    return ""
