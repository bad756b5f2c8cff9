"""Replicas that fail before they are ready: wait longer each time, then give up (promise 7).

Computed from the rows of failed replicas alone, so a controller that restarts forgets nothing.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CrashPolicy:
    first_wait_s: float = 1.0
    longest_wait_s: float = 60.0
    limit: int = 5
    """Consecutive failures after which the deployment has failed."""
    limit_usd: float = float("inf")
    """What their machines cost together, after which it has failed."""


@dataclass(frozen=True, slots=True)
class Failures:
    """Replicas in a row that ended before they were ready, since one was or the spec changed."""

    count: int = 0
    last_at: float = 0.0
    """When the newest of them ended, by the database's clock."""
    last_reason: str = ""
    usd: float = 0.0
    """What machines cost while those replicas were on them."""


def wait_s(failures: int, policy: CrashPolicy) -> float:
    """How long to leave a deployment alone after so many failures in a row: 1, 2, 4 ... 60 s."""
    if failures <= 0:
        return 0.0
    doublings = min(failures - 1, 62)  # beyond that a float is past any limit anyway
    return min(policy.first_wait_s * 2.0**doublings, policy.longest_wait_s)


def given_up(failures: Failures, policy: CrashPolicy) -> bool:
    """After so many failures in a row, or when they have cost so much."""
    return failures.count >= policy.limit or failures.usd >= policy.limit_usd
