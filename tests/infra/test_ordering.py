"""The pure order: classes age, tenants share, jobs queue."""

from __future__ import annotations

from infra.ordering import AGEING_MS, Waiting, counter_on_return, foremost, next_jobs


def job(job_id: str, tenant: str = "t", priority: int = 0, at: int = 0, cost: int = 1) -> Waiting:
    return Waiting(job_id, tenant, priority, at, cost)


def test_nothing_waits_nothing_goes() -> None:
    assert foremost([], {}) is None


def test_first_come_first_served_within_a_tenant() -> None:
    assert foremost([job("b", at=2), job("a", at=1)], {}) == job("a", at=1)


def test_a_higher_class_goes_first() -> None:
    low, high = job("low", priority=1, at=0), job("high", priority=0, at=5)
    assert foremost([low, high], {}) == high


def test_a_low_class_overtakes_once_it_has_aged() -> None:
    low = job("low", priority=1, at=0)
    assert foremost([low, job("high", at=AGEING_MS + 1)], {}) == low


def test_the_tenant_served_least_goes_first() -> None:
    waiting = [job("a", tenant="ada", at=0), job("b", tenant="bob", at=9)]
    chosen = foremost(waiting, {"ada": 10, "bob": 3})
    assert chosen is not None
    assert chosen.job_id == "b"


def test_two_busy_tenants_alternate_by_tokens() -> None:
    waiting = [job(f"a{i}", tenant="ada", at=i) for i in range(4)]
    waiting += [job(f"b{i}", tenant="bob", at=100 + i) for i in range(4)]
    prompts = {each.job_id: 10 for each in waiting}
    taken = next_jobs([], waiting, {}, prompts, max_jobs=6, max_tokens=1000)
    assert [each.tenant for each in taken] == ["ada", "bob"] * 3


def test_idleness_earns_no_credit() -> None:
    assert counter_on_return(5, [100, 80]) == 80
    assert counter_on_return(500, [100, 80]) == 500
    assert counter_on_return(5, []) == 5
