"""The control plane's benchmark: its problems are the same each time, and its parts do what they
say."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from redis.asyncio import Redis

from infra.registry import Registry
from loadtests.benchmarks.control_plane import placement
from loadtests.benchmarks.control_plane.heartbeats import beat
from loadtests.benchmarks.control_plane.problems import (
    made_up_catalogue,
    problem,
    read_catalogue,
)
from loadtests.benchmarks.control_plane.reconcile import percentile

_CATALOGUE = """\
InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,Price,SpotPrice,Region,AvailabilityZone
g6.xlarge,L4,1,4.0,16.0,0.8,0.31,us-east-1,use1-az1
g6.xlarge,L4,1,4.0,16.0,0.8,,us-east-1,use1-az2
x1.large,Unknown,1,4.0,16.0,0.8,0.3,us-east-1,use1-az2
"""


def test_a_catalogue_is_read_with_the_markets_that_have_a_price(tmp_path: Path) -> None:
    file = tmp_path / "prices.csv"
    file.write_text(_CATALOGUE)
    one, two = read_catalogue(file)
    assert (one.instance_type, one.accelerator, one.zone) == ("g6.xlarge", "L4", "use1-az1")
    assert one.usd_per_hour == {"on-demand": 0.8, "spot": 0.31}
    assert two.usd_per_hour == {"on-demand": 0.8}


def test_the_same_seed_is_the_same_problem() -> None:
    rows = made_up_catalogue()
    assert problem(rows, 4, seed=1) == problem(rows, 4, seed=1)
    assert problem(rows, 4, seed=1) != problem(rows, 4, seed=2)


def test_plans_are_held_against_the_bound() -> None:
    [placed] = placement.measure(made_up_catalogue(), deployments=4, seeds=1)
    assert 0 <= placed.gap <= placed.greedy_gap + 1e-9
    assert placed.elapsed_s > 0


def test_the_99th_percentile_of_few_values_is_near_the_greatest() -> None:
    assert percentile([3.0], 99) == 3.0
    assert percentile([1.0] * 99 + [2.0], 99) == pytest.approx(1.01)
    assert percentile([1.0, 2.0], 99) == pytest.approx(1.99)


async def test_every_agent_is_heard(valkey: Redis) -> None:
    replicas_on = {f"ins-{number}": [f"rep-{number}"] for number in range(60)}
    beaten = await beat(valkey, replicas_on, per_s=0.0, for_s=0.05, stop=threading.Event())
    assert beaten.heartbeats >= 50
    while beaten.heartbeats < 60:
        beaten = await beat(valkey, replicas_on, per_s=0.0, for_s=0.1, stop=threading.Event())
    heard = await Registry(valkey).heartbeats(replicas_on)
    assert set(heard) == set(replicas_on)
    assert [each.replica_id for each in heard["ins-7"].replicas] == ["rep-7"]


async def test_generators_keep_to_their_rate(valkey: Redis) -> None:
    beaten = await beat(valkey, {"ins-1": []}, per_s=500.0, for_s=0.5, stop=threading.Event())
    assert beaten.heartbeats <= 500.0 * beaten.elapsed_s + 50
