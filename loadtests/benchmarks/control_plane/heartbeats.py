"""`python -m` this: agents that say what they said before, so many times a second.

Reads one line from stdin, a JSON object {"instances": {id: [replica ids]}, "per_s": N, "for_s": S};
per_s 0 beats as fast as it can. Writes one line at the end (for_s is over, or stdin is closed):
what it reached. The bytes on the wire are an agent's, in pipelines of many agents.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count

from infra.connection import RedisClient, connect
from infra.process_settings import process_settings
from infra.registry import AgentRegistry
from infra.states import ReplicaState
from infra.wire import WIRE_VERSION, Heartbeat, ReplicaReport

_PIPELINE = 50
_TTL_S = 10.0


@dataclass(frozen=True, slots=True)
class Beaten:
    heartbeats: int
    elapsed_s: float
    latest_s: float
    """How far behind its time the latest one was."""

    @property
    def per_s(self) -> float:
        return self.heartbeats / self.elapsed_s


async def beat(
    jobs: RedisClient,
    replicas_on: Mapping[str, Sequence[str]],
    per_s: float,
    for_s: float,
    stop: threading.Event,
) -> Beaten:
    """Every instance in turn; `per_s` 0 is as fast as it can."""
    began_s = time.monotonic()
    beats, done, latest_s = _endless(replicas_on), 0, 0.0
    while (elapsed_s := time.monotonic() - began_s) < for_s and not stop.is_set():
        due_s = done / per_s if per_s else elapsed_s
        if due_s > elapsed_s:
            await asyncio.sleep(due_s - elapsed_s)
        latest_s = max(latest_s, elapsed_s - due_s)
        # A pipeline takes commands as a client does, and sends them together.
        async with jobs.pipeline(transaction=False) as pipe:
            for _ in range(_PIPELINE):
                heartbeat = next(beats)
                agent = AgentRegistry(pipe, heartbeat.instance_id)  # type: ignore[arg-type]
                await agent.beat(heartbeat, _TTL_S)
            await pipe.execute()
        done += _PIPELINE
    return Beaten(done, time.monotonic() - began_s, latest_s)


def _endless(replicas_on: Mapping[str, Sequence[str]]) -> Iterator[Heartbeat]:
    for sequence in count(1):
        for instance_id, replica_ids in replicas_on.items():
            yield Heartbeat(
                instance_id=instance_id,
                wire_version=WIRE_VERSION,
                build="benchmark",
                sequence=sequence,
                assignment_version=1,
                replicas=[
                    ReplicaReport(
                        each,
                        ReplicaState.READY,
                        running=1,
                        kv_tokens_used=sequence,
                        kv_tokens_total=1 << 16,
                        output_tokens=sequence * 10,
                        memory_bytes=1 << 30,
                    )
                    for each in replica_ids
                ],
            )


async def main() -> None:
    order = json.loads(sys.stdin.readline())
    stop = threading.Event()
    threading.Thread(target=_stop_at_end_of_input, args=(stop,), daemon=True).start()
    jobs = connect(process_settings().jobs)
    try:
        beaten = await beat(jobs, order["instances"], order["per_s"], order["for_s"], stop)
    finally:
        await jobs.aclose()
    print(json.dumps(asdict(beaten)), flush=True)


def _stop_at_end_of_input(stop: threading.Event) -> None:
    sys.stdin.read()
    stop.set()


if __name__ == "__main__":
    asyncio.run(main())
