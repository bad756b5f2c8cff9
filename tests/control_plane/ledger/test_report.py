"""However costs are split, they add up to the same, to the last millionth."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from control_plane.ledger.charge import NOBODY
from control_plane.ledger.report import Cost, Line, Tokens, by_tenant

_owners = st.sampled_from([NOBODY, "a", "b"])
_hours = st.integers(0, 50).map(lambda hour: hour * 3600)
_micros = st.integers(0, 10**9)
_costs = st.lists(st.builds(Cost, _owners, _hours, _micros, _micros), max_size=20)
_counts = st.integers(0, 10**7)
_tokens = st.lists(
    st.builds(Tokens, _owners, st.sampled_from(["x", "y", "z"]), _hours, _counts, _counts, _counts),
    max_size=20,
)


@given(_costs, _tokens)
def test_what_tenants_share_adds_up_to_the_total(costs: list[Cost], tokens: list[Tokens]) -> None:
    total = sum(each.used_micros + each.idle_micros for each in costs)
    lines = by_tenant(costs, tokens).values()
    assert sum(each.total_micros for each in lines) == total
    assert sum(each.output_tokens for each in lines) == sum(t.output_tokens for t in tokens)


def test_tenants_share_an_hour_by_their_tokens_and_outputs_count_twice() -> None:
    costs = [Cost("chat", 0, 900, 90)]
    tokens = [Tokens("chat", "x", 0, 100, 0, 1), Tokens("chat", "y", 0, 0, 100, 1)]
    lines = by_tenant(costs, tokens)
    assert (lines["x"].used_micros, lines["y"].used_micros) == (300, 600)
    assert (lines["x"].idle_micros, lines["y"].idle_micros) == (30, 60)


def test_an_hour_in_which_nobody_asked_is_nobodys() -> None:
    lines = by_tenant([Cost("chat", 3600, 500, 0)], [Tokens("chat", "x", 0, 10, 10, 1)])
    assert lines[NOBODY].total_micros == 500
    assert lines["x"].total_micros == 0


def test_a_million_tokens_cost_what_was_paid_while_they_were_made_and_idle_time_too() -> None:
    line = Line(1_500_000, 500_000, 3_000_000, 1_000_000, 9)
    assert (line.usd, line.usd_per_million_tokens) == (2.0, 0.5)
    assert Line(1_500_000, 500_000).usd_per_million_tokens is None
