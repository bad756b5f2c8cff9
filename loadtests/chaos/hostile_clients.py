"""`python -m loadtests.chaos.hostile_clients`: thousands of clients that leave, against `tamer up`.

Prints what the gateway keeps after each round: pending jobs, files, memory. Exits with 1 where jobs
are left or lost, or where it keeps more after the last round than after the first (which fills
pools and caches).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import httpx

from loadtests.benchmarks.home import Home
from loadtests.benchmarks.processes import GATEWAY
from loadtests.chaos.hostile_client import HostileClient, Stage

_DEPLOYMENT = "hostile"
_ENGINE = {"kind": "paced", "options": {"tokens_per_s": 200.0, "max_running": 64}}
_AT_ONCE = 256
_SETTLED_LIMIT_S = 60.0
_LOOK_EVERY_S = 0.5
_MAX_TOKENS = 24
_MORE_FILES = 8
_MORE_BYTES = 32 << 20
"""What a gateway may keep beyond the first round: noise of pools and of the allocator."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is left of a round."""

    clients: int
    reached: int
    """Clients that got as far as they wanted."""
    seconds: float
    pending: int
    missing: int
    files: int
    rss_bytes: int


def attack(home: Home, rounds: int, clients: int) -> list[Kept]:
    [gateway] = [each.pid for each in home.processes() if each.role == GATEWAY]
    kept = []
    for number in range(rounds):
        began_s = time.monotonic()
        reached = asyncio.run(_round(home, clients, Random(number)))
        seconds = time.monotonic() - began_s
        total = _settled(home)
        files, rss_bytes = _of_process(gateway)
        kept.append(
            Kept(
                clients,
                reached.total(),
                seconds,
                total["pending"],
                total["missing"],
                files,
                rss_bytes,
            )
        )
    return kept


async def _round(home: Home, clients: int, random: Random) -> Counter[Stage]:
    address = httpx.URL(home.url)
    client = HostileClient(address.host, address.port or 80, home.key, _DEPLOYMENT, _MAX_TOKENS)
    places = asyncio.Semaphore(_AT_ONCE)

    async def leave(stage: Stage, *, abruptly: bool) -> bool:
        async with places:
            return await client.leave_at(stage, abruptly=abruptly)

    stages = random.choices(list(Stage), k=clients)
    reached = await asyncio.gather(
        *(leave(stage, abruptly=random.random() < 0.5) for stage in stages)
    )
    return Counter(stage for stage, there in zip(stages, reached, strict=True) if there)


def _settled(home: Home) -> dict[str, Any]:
    """The balance of all queues, when nothing is pending or the time for that is over."""
    deadline_s = time.monotonic() + _SETTLED_LIMIT_S
    headers = {"authorization": f"Bearer {home.key}"}
    while True:
        audit = httpx.get(f"{home.url}/api/v1/audit", headers=headers, timeout=30.0)
        total: dict[str, Any] = audit.raise_for_status().json()["total"]
        if not total["pending"] or time.monotonic() > deadline_s:
            return total
        time.sleep(_LOOK_EVERY_S)


def _of_process(pid: int) -> tuple[int, int]:
    """Open files, and resident bytes."""
    process = Path(f"/proc/{pid}")
    pages = int((process / "statm").read_text().split()[1])
    return len(list((process / "fd").iterdir())), pages * os.sysconf("SC_PAGE_SIZE")


def faults(kept: list[Kept]) -> list[str]:
    """What must not be; empty where all is well."""
    first, last = kept[0], kept[-1]
    found = [f"{each.pending} jobs are still pending" for each in kept if each.pending]
    found += [f"{each.missing} jobs are lost" for each in kept if each.missing]
    if last.files > first.files + _MORE_FILES:
        found.append(f"open files went from {first.files} to {last.files}")
    if last.rss_bytes > first.rss_bytes + _MORE_BYTES:
        found.append(f"memory went from {first.rss_bytes} to {last.rss_bytes} bytes")
    return found


def table(kept: list[Kept]) -> str:
    lines = ["clients  reached  seconds  pending  lost  files  RSS MiB"]
    lines += [
        f"{each.clients:7}  {each.reached:7}  {each.seconds:7.1f}  {each.pending:7}  "
        f"{each.missing:4}  {each.files:5}  {each.rss_bytes / (1 << 20):7.1f}"
        for each in kept
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtests.chaos.hostile_clients")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=2000, help="a round")
    options = parser.parse_args()
    with Home() as home:
        home.deploy(_DEPLOYMENT, _ENGINE)
        kept = attack(home, options.rounds, options.clients)
    sys.stdout.write(table(kept))
    found = faults(kept)
    sys.stdout.writelines(f"{each}\n" for each in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
