"""What is played, one function each: it returns when the system is in the right state, with the
seconds that it took to come there, or raises `NotReached`."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loadtests.benchmarks.spot_scenarios.stage import NotReached, Stage
from loadtests.benchmarks.spot_scenarios.traffic import Traffic
from loadtests.ec2.market import Place

_TOKENS_PER_S = 25.0
_JOBS = 4
"""Of one replica at a time, so that 16 streams need four."""
_TOKENS = 100
_REPLICAS = 4
_PRICES_KEPT_S = 75.0
"""Prices are asked for once a minute."""


def step(stage: Stage, outage_s: float) -> float:  # noqa: ARG001
    """From nothing to 16 streams, which need four replicas; then nothing again."""
    stage.deploy(_TOKENS_PER_S, _JOBS, max_replicas=_REPLICAS)
    stage.wait(lambda: stage.ready() == 0, "zero replicas")
    with Traffic(stage, _REPLICAS * _JOBS, _TOKENS) as traffic:
        took_s = stage.wait_for_ready(_REPLICAS)
        if len(stage.running()) > _REPLICAS:
            raise NotReached(f"{len(stage.running())} machines for {_REPLICAS} replicas")
    _all_whole(traffic)
    stage.wait(lambda: not stage.running(), "no machine after the last request")
    _told(stage, "provision: launch", "provision: empty")
    return took_s


def zone_lost(stage: Stage, outage_s: float) -> float:  # noqa: ARG001
    """All machines of a zone go at once, and it has no others to give."""
    stage.deploy(_TOKENS_PER_S, _JOBS, min_replicas=_REPLICAS, max_replicas=_REPLICAS)
    stage.wait_for_ready(_REPLICAS)
    with Traffic(stage, _REPLICAS, _TOKENS) as traffic:
        time.sleep(1.0)
        machines = stage.running()
        zone = max(machines.values(), key=list(machines.values()).count)
        lost = [cloud_id for cloud_id, where in machines.items() if where == zone]
        stage.region.layer.market.closed.add(zone)
        for cloud_id in lost:
            stage.region.take(cloud_id)
        stage.wait(lambda: not set(lost) & set(stage.running()), "the zone is lost")
        stage.wait(lambda: stage.ready() < _REPLICAS, "the loss is noticed")
        took_s = stage.wait_for_ready(_REPLICAS)
        if zone in stage.running().values():
            raise NotReached(f"a machine in {zone}, which has none")
    _all_whole(traffic)
    _told(stage, "provision: ended_by_cloud")
    return took_s


def quota(stage: Stage, outage_s: float) -> float:
    """The account may have two machines, where four are wanted; later it may have more."""
    stage.region.layer.market.quota = 2
    stage.deploy(_TOKENS_PER_S, _JOBS, min_replicas=_REPLICAS, max_replicas=_REPLICAS)
    stage.wait_for_ready(2)
    stage.wait(lambda: "quota" in stage.reason(), "the reason names the quota")
    fleets = len(stage.region.layer.fleets)
    time.sleep(outage_s)
    tried = len(stage.region.layer.fleets) - fleets
    if tried > outage_s:
        raise NotReached(f"{tried} launches in {outage_s:g} s against a quota")
    if stage.ready() != 2:
        raise NotReached(f"{stage.ready()} ready while the quota holds, not 2")
    stage.region.layer.market.quota = None
    took_s = stage.wait_for_ready(_REPLICAS)
    _told(stage, "provision: launch_refused")
    return took_s


def never_joins(stage: Stage, outage_s: float) -> float:  # noqa: ARG001
    """A machine runs, is paid for, and does nothing."""
    machines = stage.region.layer.machines
    if machines is None:
        raise NotReached("the region has no machines")
    machines.dead = 1
    stage.deploy(_TOKENS_PER_S, _JOBS, min_replicas=1, max_replicas=1)
    stage.wait(lambda: len(stage.running()) == 1, "a machine runs")
    [dead] = stage.running()
    took_s = stage.wait_for_ready(1)
    stage.wait(lambda: dead not in stage.running(), "the dead one is ended")
    _told(stage, "provision: never_joined")
    return took_s


def price_doubles(stage: Stage, outage_s: float) -> float:  # noqa: ARG001
    """What runs costs twice as much in every zone: the next machine is of another type."""
    stage.deploy(_TOKENS_PER_S, _JOBS, min_replicas=1, max_replicas=1)
    stage.wait_for_ready(1)
    market, places = stage.region.layer.market, stage.region.layer.places
    [first] = stage.running()
    dear = places[first].instance_type
    for zone in stage.region.layer.zones.values():
        place = Place(dear, zone, "spot")
        market.prices[dear, zone] = 2 * market.price(place)
    time.sleep(_PRICES_KEPT_S)
    stage.deploy(_TOKENS_PER_S, _JOBS, min_replicas=2, max_replicas=2)
    took_s = stage.wait_for_ready(2)
    types = {places[cloud_id].instance_type for cloud_id in stage.running()}
    if types == {dear}:
        raise NotReached(f"another {dear}, though its price has doubled")
    return took_s


def cloud_away(stage: Stage, outage_s: float) -> float:
    """The cloud answers nobody while a machine is lost."""
    stage.deploy(_TOKENS_PER_S, _JOBS, min_replicas=2, max_replicas=2)
    stage.wait_for_ready(2)
    with Traffic(stage, 2, _TOKENS) as traffic:
        stage.region.layer.faults.away = True
        stage.region.take(next(iter(stage.running())))
        time.sleep(outage_s)
        if stage.ready() != 1:
            raise NotReached(f"{stage.ready()} ready while the cloud is away, not 1")
        stage.region.layer.faults.away = False
        took_s = stage.wait_for_ready(2)
    _all_whole(traffic)
    if len(stage.running()) != 2:
        raise NotReached(f"{len(stage.running())} machines for 2 replicas")
    _told(stage, "provision: silent")
    return took_s


def redis_away(stage: Stage, outage_s: float) -> float:
    """The queue's server stands still."""
    stage.deploy(_TOKENS_PER_S, _JOBS, min_replicas=2, max_replicas=2)
    stage.wait_for_ready(2)
    before = set(stage.running())
    with _stopped(stage, "valkey-server"):
        time.sleep(outage_s)
    took_s = stage.wait_for_ready(2)
    with Traffic(stage, 2, _TOKENS) as traffic:
        time.sleep(1.0)
    _all_whole(traffic)
    if set(stage.running()) != before:
        raise NotReached("machines were replaced although none was lost")
    return took_s


def store_away(stage: Stage, outage_s: float) -> float:
    """Nobody can write to the store while a machine is lost; what serves goes on."""
    stage.deploy(_TOKENS_PER_S, _JOBS, min_replicas=2, max_replicas=2)
    stage.wait_for_ready(2)
    with Traffic(stage, 2, _TOKENS) as traffic:
        with _locked(stage):
            stage.region.take(next(iter(stage.running())))
            time.sleep(outage_s)
        stage.wait(lambda: stage.ready() < 2 or len(stage.running()) == 2, "the loss is noticed")
        took_s = stage.wait_for_ready(2)
    _all_whole(traffic)
    if len(stage.running()) != 2:
        raise NotReached(f"{len(stage.running())} machines for 2 replicas")
    _told(stage, "provision: ended_by_cloud")
    return took_s


_PLAYED = (
    *(step, zone_lost, quota, never_joins, price_doubles),
    *(cloud_away, redis_away, store_away),
)
SCENARIOS = {each.__name__: each for each in _PLAYED}


@contextmanager
def _stopped(stage: Stage, command: str) -> Iterator[None]:
    """Processes of this command stand still."""
    pids = [each.pid for each in stage.home.processes() if _runs(each.pid, command)]
    if not pids:
        raise NotReached(f"no process runs {command}")
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _runs(pid: int, command: str) -> bool:
    try:
        return command.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


@contextmanager
def _locked(stage: Stage) -> Iterator[None]:
    """The store's only writer is somebody who does not finish."""
    connection = sqlite3.connect(stage.home.path / "tamer.db", timeout=60.0, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()


def _all_whole(traffic: Traffic) -> None:
    outcome = traffic.outcome
    if outcome.failed or not outcome.whole:
        raise NotReached(f"{outcome.whole} streams were whole, others: {outcome.failed[:3]}")


def _told(stage: Stage, *reasons: str) -> None:
    story = stage.story()
    missing = [each for each in reasons if each not in story]
    if missing:
        raise NotReached(f"explain does not say {missing}: {story}")
