"""Takes the token counts of queues into the store: often, and without taking one twice."""

from __future__ import annotations

from control_plane.controller.world import World
from control_plane.ledger.billing import HOUR_S
from control_plane.store.clock import read_clock
from control_plane.store.repositories import token_counts
from control_plane.store.session import Database
from infra.connection import RedisClient
from infra.queue.usage import forget_usage, read_usage

_LOOK_BACK_S = 30 * 24 * 3600.0
"""As long as Redis keeps what nobody fetches: nobody may have been here for so long."""
_AGAIN_S = 2 * 3600.0
_FORGET_AFTER_HOURS = 2
"""Redis's clock says when an hour is over, and it may be set back a little."""


class TokenBook:
    """Needs no lease: counts only grow, and the greater one is written."""

    name = "tokens"

    def __init__(self, database: Database, jobs: RedisClient) -> None:
        self._database = database
        self._jobs = jobs
        self._looked = False

    async def run(self, _world: World | None, /) -> int:
        """Returns how many counts it has read. Raises RedisError: they are read next time."""
        look_back_s = _AGAIN_S if self._looked else _LOOK_BACK_S
        async with self._database.snapshot() as session:
            since = await read_clock(session) - look_back_s
            queues = await token_counts.queues(session, since)
        used = await read_usage(self._jobs, sorted(queues))
        async with self._database.transaction() as session:
            await token_counts.write(session, used, queues)
        # Only what was written may go: a crash before this line does it all again.
        over = {
            revision_id: newest - _FORGET_AFTER_HOURS * HOUR_S
            for revision_id, found in used.items()
            if (newest := max((each.hour for each in found), default=0))
        }
        stale = {
            revision_id: hour
            for revision_id, hour in over.items()
            if any(each.hour < hour for each in used[revision_id])
        }
        await forget_usage(self._jobs, stale)
        self._looked = True
        return sum(len(each) for each in used.values())
