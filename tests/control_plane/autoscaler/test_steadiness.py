"""The autoscaler over time: random arrivals, replicas that take their time to boot, a queue."""

from __future__ import annotations

import math
import random
from collections import deque
from dataclasses import dataclass, field

import pytest

from control_plane.autoscaler.arrivals import Arrivals, Counts
from control_plane.autoscaler.boot_time import BootTime
from control_plane.autoscaler.decision import decide
from control_plane.autoscaler.observation import Demand, Observation, ReplicaCapacity
from control_plane.autoscaler.policy import ScalingPolicy
from infra.performance.capacity import PROMISED_SHARE

PROMPT, OUTPUT = 512, 128
BOOT_S = 90.0
STEP_S = 4.0
KEPT_S = 300.0


@dataclass
class Cell:
    """A deployment whose replicas serve what they are said to, at four fifths of their time."""

    jobs_per_s: float
    """That one replica is promised to serve."""
    policy: ScalingPolicy
    now_s: float = 0.0
    target: int = 0
    queue: float = 0.0
    counts: Counts = field(default_factory=Counts)
    starts: list[float] = field(default_factory=list)
    kept: deque[tuple[float, int]] = field(default_factory=deque)
    arrivals: Arrivals = field(default_factory=Arrivals)
    changes: list[tuple[float, int]] = field(default_factory=list)

    @property
    def ready(self) -> int:
        return sum(start + BOOT_S <= self.now_s for start in self.starts)

    def step(self, jobs: int) -> None:
        self.now_s += STEP_S
        served = min(self.queue + jobs, self.ready * self.jobs_per_s / 0.8 * STEP_S)
        self.queue += jobs - served
        grown = Counts(jobs, jobs * PROMPT, jobs, jobs * OUTPUT)
        self.counts = self.counts.plus(grown)
        self.arrivals.see(grown, self.counts, self.now_s)
        self._decide()

    def _decide(self) -> None:
        while self.kept and self.kept[0][0] < self.now_s - KEPT_S:
            self.kept.popleft()
        waiting = math.floor(self.queue)
        rate = self.jobs_per_s
        observation = Observation(
            current_target=self.target,
            demand=Demand(
                pending_jobs=waiting + 1,
                idle_s=0.0,
                age_s=0.0,
                load=self.arrivals.load(waiting, waiting * PROMPT, 0.0),
            ),
            boot=BootTime(BOOT_S, BOOT_S, 9),
            ready=self.ready,
            capacity=ReplicaCapacity(32, rate * PROMPT, rate * OUTPUT, "model"),
            kept=max((each for _, each in self.kept), default=self.target),
        )
        decision = decide(observation, self.policy)
        self.kept.append((self.now_s, decision.keeps))
        if decision.target != self.target:
            self.changes.append((self.now_s, decision.target))
            added = max(0, decision.target - len(self.starts))
            self.starts = self.starts[: decision.target] + [self.now_s] * added
            self.target = decision.target


def poisson(mean: float, chance: random.Random) -> int:
    """Knuth's, in pieces that its exponential can hold."""
    count = 0
    while mean > 0:
        piece, mean = min(mean, 50.0), mean - 50.0
        limit, product = math.exp(-piece), chance.random()
        while product > limit:
            count += 1
            product *= chance.random()
    return count


def settled(load: float, jobs_per_s: float, chance: random.Random) -> Cell:
    """After half an hour of such a load, in replicas."""
    cell = Cell(jobs_per_s, ScalingPolicy(0, 40, 300.0, 32))
    for _ in range(int(1800 / STEP_S)):
        cell.step(poisson(load * jobs_per_s * STEP_S, chance))
    return cell


@pytest.mark.parametrize("seed", range(100))
def test_a_constant_rate_changes_the_target_at_most_once_in_half_an_hour(seed: int) -> None:
    chance = random.Random(seed)
    load, jobs_per_s = chance.uniform(0.2, 12.0), 10 ** chance.uniform(-0.7, 1.0)
    cell = settled(load, jobs_per_s, chance)
    before = len(cell.changes)
    for _ in range(int(1800 / STEP_S)):
        cell.step(poisson(load * jobs_per_s * STEP_S, chance))
    assert len(cell.changes) - before <= 1, (load, jobs_per_s, cell.changes[before:])
    assert load * PROMISED_SHARE <= cell.target, "what arrives is served"


def test_a_step_is_followed_and_its_backlog_drained() -> None:
    cell = settled(1.5, 5.0, chance := random.Random(1))
    for _ in range(int(600 / STEP_S)):
        cell.step(poisson(6.0 * 5.0 * STEP_S, chance))
    assert cell.target >= 6
    assert cell.queue < 60, "less than two seconds' work"


def test_what_is_no_longer_needed_is_given_back() -> None:
    cell = settled(6.0, 5.0, chance := random.Random(2))
    high = cell.target
    for _ in range(int(900 / STEP_S)):
        cell.step(poisson(1.5 * 5.0 * STEP_S, chance))
    assert high >= 6
    assert cell.target <= 3


def test_replicas_that_never_come_are_not_asked_for_again_and_again() -> None:
    """The backlog grows as long as they are not there; the number stays what arrivals need."""
    cell = Cell(5.0, ScalingPolicy(0, 40, 300.0, 32))
    chance, targets = random.Random(3), []
    for _ in range(int(1200 / STEP_S)):
        cell.step(poisson(4.0 * 5.0 * STEP_S, chance))
        cell.starts = [cell.now_s] * len(cell.starts)
        targets.append(cell.target)
    assert cell.queue > 1000
    assert max(targets[15:]) == max(targets[:15]) <= 8
