"""A plan without a solver, for when that is cut off: one cover for each deployment, chosen by
descent, which sees what deployments may share; or deployments in turn, each of which sees what is
free on machines that are there."""

from __future__ import annotations

import numpy as np

from control_plane.placement.candidates import carriers, near_usd
from control_plane.placement.choices import Choices
from control_plane.placement.descent import Descent
from control_plane.placement.enumeration import Covers, covers
from control_plane.placement.in_turn import in_turn
from control_plane.placement.plan import Plan, plan_of, worth
from control_plane.placement.problem import Impossible, Problem

_FORGIVEN = 0.01
"""Of the cost: covers are looked at as far as a plan may be dearer by no more than this."""
_MOST_COVERS = 200
"""Of each deployment, the cheapest if it pays for its slots, and if it pays for whole machines."""


def greedy(problem: Problem) -> Plan:
    """The better of both ways.

    Raises:
        Impossible: limits are reached before a deployment's needs are met.
    """
    together = _together(problem)
    try:
        one_by_one = in_turn(problem)
    except Impossible:
        if together is None:
            raise
        return together
    plans = [one_by_one] if together is None else [together, one_by_one]
    return min(plans, key=lambda plan: worth(problem, plan))


def _together(problem: Problem) -> Plan | None:
    carried = carriers(problem)
    if not carried:
        return Plan({}, {}, 0.0, None, "greedy")
    within_usd = near_usd(problem, carried, _FORGIVEN)
    lists = [
        _cheapest(problem, covers(problem, want, fits, problem.slot_usd, within_usd))
        for want, fits in carried
    ]
    if not all(len(each.usd) for each in lists):
        return None
    choices = Choices(problem, lists)
    chosen = Descent(choices).run()
    return None if chosen is None else plan_of(problem, choices.replicas(chosen), None, "greedy")


def _cheapest(problem: Problem, listed: Covers) -> Covers:
    devices = np.array([problem.offers[fit.pool].devices for fit in listed.fits])
    slots = listed.counts * [fit.devices for fit in listed.fits]
    machines = -(-slots // devices)
    alone_usd = machines @ [problem.usd_per_hour(fit.pool) for fit in listed.fits]
    alone = np.argsort(alone_usd + listed.starts_usd, kind="stable")[:_MOST_COVERS]
    sharing = np.arange(min(_MOST_COVERS, len(listed.usd)))
    return listed.only(np.union1d(sharing, alone))
