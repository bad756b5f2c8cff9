"""What was spent, and what tenants may spend."""

from __future__ import annotations

import httpx
import pytest

from control_plane.ledger.charge import Charge, Share
from control_plane.store.clock import read_clock
from control_plane.store.repositories import budgets, charges, deployments, token_counts
from control_plane.store.session import Database
from infra.queue.usage import Usage
from tests.control_plane.api.conftest import MakeModel
from tests.control_plane.store.rows import add_instance, add_replica

_SPLITS = ("deployment", "tenant", "instance", "day")


@pytest.fixture
async def hour(store: Database) -> int:
    """The present one, in which a machine cost 1.10 dollars, 0.30 of them idle."""
    async with store.transaction() as session:
        hour = int(await read_clock(session) // 3600) * 3600
        instance, replica = await add_instance(session), await add_replica(session)
        share = Share(replica.deployment_id, 600.0, 800_000, 300_000)
        charge = Charge(instance.id, hour, 900.0, 1_000_000, 100_000, (share,))
        await charges.write(session, [charge])
        used = [Usage("acme", hour, "e", 1000, 500, 1), Usage("other", hour, "e", 0, 500, 2)]
        queues = {replica.revision_id: replica.deployment_id}
        await token_counts.write(session, {replica.revision_id: used}, queues)
    return hour


@pytest.mark.parametrize("by", _SPLITS)
@pytest.mark.usefixtures("hour")
async def test_every_split_adds_up_to_the_total(client: httpx.AsyncClient, by: str) -> None:
    costs = (await client.get("/costs", params={"by": by})).json()
    assert costs["total"]["usd"] == pytest.approx(1.10)
    assert sum(line["usd"] for line in costs["lines"]) == pytest.approx(1.10)
    assert sum(line["idle_usd"] for line in costs["lines"]) == pytest.approx(0.30)


@pytest.mark.usefixtures("hour")
async def test_tenants_share_by_their_tokens_and_see_what_a_million_cost(
    client: httpx.AsyncClient,
) -> None:
    costs = (await client.get("/costs", params={"by": "tenant"})).json()
    shares = {line["name"]: line["usd"] for line in costs["lines"]}
    assert shares == {"acme": pytest.approx(1.10 * 2 / 3), "other": pytest.approx(1.10 / 3)}
    assert costs["total"]["usd_per_million_tokens"] == pytest.approx(1.10 / 2000 * 1e6)


@pytest.mark.usefixtures("hour")
async def test_costs_of_one_deployment_alone(client: httpx.AsyncClient) -> None:
    own = (await client.get("/costs", params={"deployment": "chat"})).json()
    assert [line["name"] for line in own["lines"]] == ["chat"]
    unknown = await client.get("/costs", params={"deployment": "chatt"})
    assert unknown.status_code == 404


@pytest.mark.usefixtures("hour")
async def test_a_deployment_that_is_made_again_shows_and_has_spent_what_was_before_it(
    client: httpx.AsyncClient, store: Database, make_model: MakeModel
) -> None:
    async with store.transaction() as session:
        [(former, _)] = await deployments.all_live(session)
        former.state = "deleted"
        row = {"day": 0, "day_micros": 7, "month": 0, "month_micros": 8, "updated_at": 1.0}
        spent = {"id": budgets.of_deployment(former.id), "stage": "closed", **row}
        await budgets.write_spendings(session, [spent])
    await make_model()
    await client.post("/deployments", json={"name": "chat", "model": "smollm2"})
    own = (await client.get("/costs", params={"deployment": "chat"})).json()
    assert own["total"]["usd"] == pytest.approx(1.10)
    assert own["total"]["output_tokens"] == 1000
    async with store.snapshot() as session:
        [(again, _)] = await deployments.all_live(session)
        ids = [budgets.of_deployment(again.id)]
        [begun] = (await budgets.spendings(session, ids)).values()
    assert (begun.month_micros, begun.stage) == (8, "open"), "what follows is still to be told"


async def test_a_tenant_gets_a_budget_changes_it_and_loses_it(client: httpx.AsyncClient) -> None:
    assert (await client.put("/budgets/acme", json={"usd_per_day": 5})).status_code == 200
    made = await client.put("/budgets/acme", json={"usd_per_day": 5, "usd_per_month": 50})
    assert made.json()["usd_per_month"] == 50
    listed = (await client.get("/budgets")).json()["data"]
    assert [(each["tenant"], each["spent_day_usd"]) for each in listed] == [("acme", 0.0)]
    assert (await client.delete("/budgets/acme")).status_code == 200
    assert (await client.delete("/budgets/acme")).status_code == 404


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "usd_per_day or usd_per_month"),
        ({"usd_per_day": 0}, "greater than 0"),
        ({"usd_per_day": 10, "usd_per_month": 5}, "less than usd_per_day"),
        ({"usd_per_day": 1e10}, "less than or equal"),
        ({"per_day": 1}, "per_day"),
    ],
)
async def test_a_budget_that_makes_no_sense_is_refused(
    client: httpx.AsyncClient, body: dict[str, float], said: str
) -> None:
    answer = await client.put("/budgets/acme", json=body)
    assert answer.status_code == 422
    assert said in answer.text
