"""The tests behind a verdict, exact for any number of requests (pure)."""

from __future__ import annotations

import math


def fisher(worse: int, of: int, base_worse: int, base_of: int) -> float:
    """One-sided exact test of Fisher: how likely `worse` or more of the `base_worse + worse` bad
    ones would fall among these `of`, if both were equally good."""
    total, bad = of + base_of, worse + base_worse
    ways = _log_choose(total, of)
    terms = (
        math.exp(_log_choose(bad, each) + _log_choose(total - bad, of - each) - ways)
        for each in range(max(worse, of - (total - bad)), min(bad, of) + 1)
    )
    return min(1.0, math.fsum(terms))


def binomial(worse: int, of: int, allowed: float) -> float:
    """One-sided exact test: how likely `worse` or more of `of` are bad where each is with
    probability `allowed`."""
    if worse <= 0:
        return 1.0
    if allowed <= 0.0:
        return 0.0
    good, bad = math.log1p(-allowed), math.log(allowed)
    terms = (
        math.exp(_log_choose(of, each) + each * bad + (of - each) * good)
        for each in range(worse, of + 1)
    )
    return min(1.0, math.fsum(terms))


def _log_choose(among: int, taken: int) -> float:
    return math.lgamma(among + 1) - math.lgamma(taken + 1) - math.lgamma(among - taken + 1)
