"""The charge of one machine for one hour, and whose it is.

It follows from times in rows alone, so whoever computes it, and however often, finds the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from control_plane.ledger.billing import Price, Span, billed, cost_usd, hour_span, hours
from control_plane.ledger.money import split, usd_micros

NOBODY = ""
"""Whose a machine's time is before any replica was on it, where it is not kept for anybody."""


@dataclass(frozen=True, slots=True)
class Stay:
    """A replica's time on a machine: one device slot is a deployment's."""

    deployment_id: str
    begin: float
    end: float | None
    """None while it lasts."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What is known of one launch."""

    instance_id: str
    launched_at: float
    ended_at: float | None
    slots: int
    prices: Sequence[Price]
    """Of the machine."""
    extra_usd_per_hour: float = 0.0
    """Of its disk and its address, as far as they are known."""
    kept_for: str = NOBODY
    """The deployment for which it stays though nothing runs on it."""


@dataclass(frozen=True, slots=True)
class Share:
    """A deployment's part of a charge."""

    deployment_id: str
    slot_seconds: float
    used_micros: int
    idle_micros: int
    """Its part of slots that nobody used: in proportion to those that it did."""


@dataclass(frozen=True, slots=True)
class Charge:
    instance_id: str
    hour: int
    """Its first epoch second."""
    seconds: float
    """Billed."""
    machine_micros: int
    extra_micros: int
    shares: tuple[Share, ...]
    """By deployment; together they are the whole charge."""


def charges(
    machine: Machine, stays: Sequence[Stay], from_hour: float, now: float
) -> Iterator[Charge]:
    """A machine's charges up to now, of the hours from `from_hour` on."""
    span = billed(machine.launched_at, machine.ended_at, now)
    for hour in hours(span):
        if hour >= from_hour:
            yield charge(machine, stays, hour, now)


def charge(machine: Machine, stays: Sequence[Stay], hour: int, now: float) -> Charge:
    """Of one hour, as far as it has passed."""
    span = billed(machine.launched_at, machine.ended_at, now).within(hour_span(hour))
    cost = usd_micros(cost_usd(span, machine.prices))
    extra = usd_micros(cost_usd(span, [Price(span.begin, machine.extra_usd_per_hour)]))
    used = _used(stays, span)
    owner = machine.kept_for or _last(stays, span.begin)
    shares = (
        _shares(machine, used, span.seconds, cost + extra)
        if used
        else (Share(owner, 0.0, 0, cost + extra),)
    )
    return Charge(machine.instance_id, hour, span.seconds, cost, extra, shares)


def _used(stays: Sequence[Stay], span: Span) -> dict[str, float]:
    """Slot seconds by deployment. Whoever is there has what is owed in advance, too."""
    used: dict[str, float] = {}
    for stay in stays:
        end = span.end if stay.end is None else stay.end
        seconds = Span(stay.begin, max(stay.begin, end)).within(span).seconds
        if seconds:
            used[stay.deployment_id] = used.get(stay.deployment_id, 0.0) + seconds
    return used


def _last(stays: Sequence[Stay], at: float) -> str:
    """Whoever was the last to leave the machine before then."""
    left = [(each.end, each.deployment_id) for each in stays if each.end is not None]
    return max((each for each in left if each[0] <= at), default=(at, NOBODY))[1]


def _shares(
    machine: Machine, used: dict[str, float], seconds: float, total: int
) -> tuple[Share, ...]:
    # More replicas than slots share what there is.
    free = max(0.0, machine.slots * seconds - sum(used.values()))
    weights = {each: _ms(used[each]) for each in used}
    parts = split(total, {**weights, NOBODY: _ms(free)})
    idle = split(parts.pop(NOBODY), weights)
    return tuple(Share(each, used[each], parts[each], idle[each]) for each in sorted(used))


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
