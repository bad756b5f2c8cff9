"""`tamer cost` and `tamer budget` against a server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from control_plane.cli.exits import ExitCode
from tests.control_plane.cli.stub_answers import Tamer, page
from tests.control_plane.cli.stub_server import StubServer


def _line(id: str, name: str, usd: float, **changed: Any) -> dict[str, Any]:
    return {
        "id": id,
        "name": name,
        "usd": usd,
        "used_usd": usd * 0.75,
        "idle_usd": usd * 0.25,
        "prompt_tokens": 3000,
        "output_tokens": 1000,
        "jobs": 12,
        "usd_per_million_tokens": usd / 0.004,
        "billed_s": None,
        **changed,
    }


def _costs(by: str, *lines: dict[str, Any]) -> dict[str, Any]:
    return {
        "by": by,
        "since": 1_700_000_000.0,
        "until": 1_700_600_000.0,
        "deployment": None,
        "lines": list(lines),
        "total": _line("total", "total", sum(each["usd"] for each in lines)),
    }


def _key(tenant: str, revoked_at: float | None = None) -> dict[str, Any]:
    return {"tenant": tenant, "revoked_at": revoked_at}


def _budget(tenant: str = "acme") -> dict[str, Any]:
    return {
        "tenant": tenant,
        "usd_per_day": 5.0,
        "usd_per_month": None,
        "spent_day_usd": 1.5,
        "spent_month_usd": 2.5,
        "updated_at": 1_700_000_000.0,
    }


def test_costs_are_told_with_idle_time_and_a_total(tamer: Tamer, stub_server: StubServer) -> None:
    nobody = _line("", "", 0.004, usd_per_million_tokens=None)
    lines = (_line("dep-1", "chat", 2.0), nobody)
    stub_server.on("GET", "/costs", (200, _costs("deployment", *lines)))
    code, out, _ = tamer("cost", "--since", "2w")
    assert code == 0
    rows = [line.split() for line in out.splitlines()]
    assert rows[1] == ["chat", "2.00", "0.50", "12", "3000", "1000", "500.000"]
    assert "(no deployment)" in out
    assert "0.004000" in out, "less than a cent is not nothing"
    assert rows[-1][:2] == ["total", "2.00"]
    [(_, path, _, _)] = stub_server.requests
    assert "by=deployment" in path
    assert f"since_s={14 * 86_400}" in path


def test_machines_are_told_with_their_hours(tamer: Tamer, stub_server: StubServer) -> None:
    machine = _line("ins-1", "g6.xlarge us-east-1a spot", 0.9, billed_s=5400.0)
    stub_server.on("GET", "/costs", (200, _costs("instance", machine)))
    code, out, _ = tamer("cost", "chat", "--by", "instance")
    assert code == 0
    assert "g6.xlarge us-east-1a spot" in out
    assert "1.50" in out
    assert "deployment=chat" in stub_server.requests[0][1]


def test_json_is_what_the_server_said(tamer: Tamer, stub_server: StubServer) -> None:
    costs = _costs("day", _line("2026-11-22", "2026-11-22", 1.0))
    stub_server.on("GET", "/costs", (200, costs))
    code, out, _ = tamer("cost", "--by", "day", "--json")
    assert (code, json.loads(out)) == (0, costs)


def test_a_span_that_is_too_long_is_refused_with_the_longest(tamer: Tamer) -> None:
    code, _, error = tamer("cost", "--since", "52w")
    assert code == ExitCode.USAGE
    assert "at most 93d" in error


@pytest.mark.parametrize("since", ["", "7", "0d", "d", "7m", "-1d"])
def test_a_span_that_is_none_is_refused_with_an_example(tamer: Tamer, since: str) -> None:
    code, _, error = tamer("cost", f"--since={since}")
    assert code == ExitCode.USAGE
    assert "e.g. 7d" in error


def test_a_tenant_is_given_a_budget(tamer: Tamer, stub_server: StubServer) -> None:
    stub_server.on("PUT", "/budgets/acme", (200, _budget()))
    stub_server.on("GET", "/keys", page(_key("acme")))
    code, out, err = tamer("budget", "set", "acme", "--per-day", "5")
    assert code == 0
    assert ("acme: $5.00 a day" in out, err) == (True, "")
    assert stub_server.requests[0][3] == {"usd_per_day": 5.0, "usd_per_month": None}


def test_a_budget_that_holds_nobody_says_so(tamer: Tamer, stub_server: StubServer) -> None:
    """A tenant is a name in a key, so a slip makes a new one."""
    stub_server.on("PUT", "/budgets/acne", (200, _budget("acne")))
    stub_server.on("GET", "/keys", page(_key("acme"), _key("acne", revoked_at=1.0)))
    code, _, err = tamer("budget", "set", "acne", "--per-day", "5")
    assert code == 0
    assert "no key is of tenant 'acne'; there are: acme" in err


def test_a_budget_without_a_limit_is_none(tamer: Tamer) -> None:
    code, _, error = tamer("budget", "set", "acme")
    assert code == ExitCode.USAGE
    assert "--per-day or --per-month" in error


def test_budgets_are_listed_with_what_is_spent_and_removed(
    tamer: Tamer, stub_server: StubServer
) -> None:
    stub_server.on("GET", "/budgets", (200, {"data": [_budget()], "next_cursor": None}))
    stub_server.on("DELETE", "/budgets/acme", (200, _budget()))
    _, out, _ = tamer("budget", "list")
    assert out.splitlines()[1].split()[:3] == ["acme", "5.00", "1.50"]
    code, out, _ = tamer("budget", "remove", "acme")
    assert code == 0
    assert "no budget any more (it was $5.00 a day)" in out
