"""Interleaved rounds of cold loads, between two looks at what the disk can do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loadtests.benchmarks.arms.arm import Arm
from loadtests.benchmarks.arms.line_up import LineUp
from loadtests.benchmarks.loader.ceiling import DiskCeiling
from loadtests.benchmarks.loader.page_cache import evict

DESTINATIONS = ("host", "device")


@dataclass(slots=True)
class Measured:
    """Of each (arm, destination) bytes per second and CPU seconds per GB, a figure a round."""

    rates: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    cpu_s_per_gb: dict[tuple[str, str], list[float]] = field(
        default_factory=lambda: defaultdict(list)
    )
    ceilings: list[float] = field(default_factory=list)
    """Of the rounds: the mean of before and after."""

    def add(self, name: str, kind: str, size_bytes: int, told: dict[str, float]) -> None:
        self.rates[name, kind].append(size_bytes / told["seconds"])
        self.cpu_s_per_gb[name, kind].append(told["cpu_s"] / size_bytes * 1e9)


def steady(
    line_up: LineUp, files: dict[str, Path], size_bytes: int, ceiling: DiskCeiling, rounds: int
) -> Measured:
    """Loads by processes that have loaded before: what a loader keeps, it has.

    The first load of each arm is not counted.
    """
    measured = Measured()
    # Once between two rounds: what is read again at once comes faster than anything in a round.
    before = ceiling.measure()
    for number in range(rounds + 1):
        for name, kind in _in_turn(line_up.names, number):
            told = line_up.use(name, _cold_load(files[name], kind))
            if told is not None and number > 0:
                measured.add(name, kind, size_bytes, told)
        after = ceiling.measure()
        if number > 0:
            measured.ceilings.append((before + after) / 2)
        before = after
    return measured


def fresh(
    load: Callable[[], LineUp], files: dict[str, Path], size_bytes: int, rounds: int
) -> Measured:
    """First loads of processes that have just imported what they need.

    Args:
        load: starts every arm anew.
    """
    measured = Measured()
    for number in range(rounds):
        for kind in DESTINATIONS:
            with load() as line_up:
                for name, _ in _in_turn(line_up.names, number, [kind]):
                    told = line_up.use(name, _cold_load(files[name], kind))
                    if told is not None:
                        measured.add(name, kind, size_bytes, told)
    return measured


def _cold_load(file: Path, kind: str) -> Callable[[Arm], dict[str, float]]:
    def load(arm: Arm) -> dict[str, float]:
        arm.ask("prepare", kind=kind)
        evict(file)
        return arm.ask("load", file=str(file), kind=kind)

    return load


def _in_turn(
    names: Sequence[str], number: int, kinds: Sequence[str] = DESTINATIONS
) -> list[tuple[str, str]]:
    """Another one begins in each round."""
    first = number % len(names) if names else 0
    return [(name, kind) for name in [*names[first:], *names[:first]] for kind in kinds]
