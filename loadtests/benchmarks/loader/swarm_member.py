"""`python -m loadtests.benchmarks.loader.swarm_member URI KEY`: one worker's way to a package.

Waits for a line on stdin, opens the model as an agent does (settings from the environment), says
as a line of JSON where its bytes came from, and serves them until stdin ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from infra.connection import connect
from infra.package_index import digest_of
from infra.settings import Settings
from infra.wire import ReplicaSpec
from worker.agent.held_model import HeldModel
from worker.agent.models import Models
from worker.agent.peer_board import open_board
from worker.loader.landing import Landing

_LIMIT_S = 120.0


def _weights(model: HeldModel) -> memoryview:
    landing = Landing.open(model.landing)
    return landing.wait(0, landing.index.data_bytes, _LIMIT_S)


def _say(line: str) -> None:
    """A line of its own, whatever a thread that logs has begun."""
    sys.stdout.write(f"\n{line}\n")
    sys.stdout.flush()


async def main(uri: str, key: str) -> None:
    settings = Settings()
    jobs = connect(settings.jobs_url)
    board = open_board(settings, jobs, settings.jobs_url)
    models = Models(settings, board)
    _say("ready")
    await asyncio.to_thread(sys.stdin.readline)
    began_s = time.monotonic()
    spec = ReplicaSpec("replica", "revision", uri, weights_key=key)
    model = await asyncio.to_thread(models.open, spec, lambda _count: None)
    weights = await asyncio.to_thread(_weights, model)
    took_s = time.monotonic() - began_s
    told = {"bytes": model.bytes_by_tier(), "seconds": took_s, "digest": digest_of(weights)}
    _say(json.dumps(told))
    del weights
    await asyncio.to_thread(sys.stdin.read)
    model.release()
    models.close()
    if board is not None:
        await board.close()
    await jobs.aclose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
