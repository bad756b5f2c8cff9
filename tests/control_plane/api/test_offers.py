"""What no machine of the cloud can carry is refused where it is asked for, with the numbers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import httpx
import pytest

from control_plane.api.deployments.offers import require_places
from control_plane.api.deployments.spec import DeploymentSpec
from control_plane.api.problem import Problem
from infra.performance.model_facts import facts_of
from infra.settings import Settings
from tests.control_plane.api.conftest import MakeModel

_SEVENTY_B = 70_000_000_000
_EIGHT_B = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    more = {"cloud": "aws", "aws_region": "us-east-1", "aws_subnets": "us-east-1a=subnet-1"}
    return settings.model_copy(update=more)


@pytest.mark.parametrize(
    ("placement", "field", "says"),
    [
        ({"regions": ["eu-west-1"]}, "regions", "launches in us-east-1"),
        ({"zones": ["us-east-1f"]}, "zones", "subnets in us-east-1a only"),
        ({"instance_types": ["g6.xlrge"]}, "instance_types.0", "did you mean 'g6.xlarge'?"),
        ({"accelerators": ["h100"]}, "accelerators.0", "did you mean 'H100'?"),
        (
            {"instance_types": ["g6.xlarge"], "accelerators": ["H100"]},
            "accelerators",
            "no allowed instance type has one",
        ),
        ({"max_usd_per_hour": 0.01}, "max_usd_per_hour", "less than one replica can cost: $0.05"),
        (
            {"max_usd_per_hour": 0.5, "spot": "never"},
            "max_usd_per_hour",
            "$0.526 on g4dn.xlarge (T4), on demand",
        ),
    ],
)
async def test_what_cannot_be_had_is_refused_with_what_can(
    client: httpx.AsyncClient,
    make_model: MakeModel,
    placement: dict[str, Any],
    field: str,
    says: str,
) -> None:
    await make_model()
    spec = {"name": "chat", "model": "smollm2", "placement": placement}
    answer = await client.post("/deployments", json=spec)
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["field"] == f"placement.{field}"
    assert says in error["message"]


@pytest.mark.parametrize(
    ("spec", "field", "says"),
    [
        (
            {"scaling": {"min_replicas": 4}, "placement": {"max_usd_per_hour": 0.2}},
            "placement.max_usd_per_hour",
            "$0.2 an hour is less than 4 replicas (scaling.min_replicas) can cost: "
            "4 x $0.0526 = $0.2104 on g4dn.xlarge (T4)",
        ),
        (
            {
                "scaling": {
                    "min_replicas": 1,
                    "schedule": [
                        {"cron": "0 8 * * *", "duration_s": 3600, "min_replicas": 2},
                        {"cron": "0 9 * * *", "duration_s": 3600, "min_replicas": 4},
                    ],
                },
                "placement": {"max_usd_per_hour": 1.2, "spot": "never"},
            },
            "placement.max_usd_per_hour",
            "4 replicas (scaling.schedule.1.min_replicas) can cost: 4 x $0.526 = $2.104",
        ),
        (
            {
                "scaling": {"min_replicas": 4},
                "placement": {"spot": "never"},
                "budget": {"usd_per_day": 2.0},
            },
            "budget.usd_per_day",
            "an hour of what 4 replicas (scaling.min_replicas) can cost: 4 x $0.526 = $2.104",
        ),
        (
            {"budget": {"usd_per_month": 0.05}},
            "budget.usd_per_month",
            "an hour of what one replica can cost: $0.0526",
        ),
    ],
)
async def test_more_replicas_than_the_money_allows_are_refused_with_the_sum(
    client: httpx.AsyncClient,
    make_model: MakeModel,
    spec: dict[str, Any],
    field: str,
    says: str,
) -> None:
    await make_model()
    scaling = {"max_replicas": 8, **spec.get("scaling", {})}
    body = {"name": "chat", "model": "smollm2", **spec, "scaling": scaling}
    answer = await client.post("/deployments", json=body)
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["field"] == field
    assert says in error["message"]


@pytest.mark.parametrize(
    ("region", "placement", "says"),
    [
        ("us-east-1", {"zones": ["eu-west-1a"]}, "launches in us-east-1 (TAMER_AWS_REGION)"),
        ("us-east-1", {"zones": ["us-east-1-bos-1a"]}, ""),
        ("", {"zones": ["us-east-1a"], "regions": ["eu-west-1"]}, "allows eu-west-1; its zones"),
        ("", {"zones": ["us-east-1a", "eu-west-1b"], "regions": ["eu-west-1"]}, ""),
        ("", {"zones": ["us-east-1a"]}, ""),
    ],
)
def test_zones_of_another_region_are_refused_where_no_subnets_are_set(
    settings: Settings, region: str, placement: dict[str, Any], says: str
) -> None:
    settings = settings.model_copy(update={"aws_region": region, "aws_subnets": ""})
    spec = DeploymentSpec.model_validate({"name": "c", "model": "m", "placement": placement})
    if not says:
        require_places(spec, settings)
        return
    with pytest.raises(Problem) as refused:
        require_places(spec, settings)
    [error] = refused.value.errors
    assert error.field == "placement.zones"
    assert says in error.message


async def test_a_model_that_fits_no_allowed_device_is_refused_with_both_sizes(
    client: httpx.AsyncClient, make_model: MakeModel
) -> None:
    await make_model(parameters=_SEVENTY_B)
    spec = {"name": "chat", "model": "smollm2", "placement": {"accelerators": ["L4", "A10G"]}}
    answer = await client.post("/deployments", json=spec)
    [error] = answer.json()["errors"]
    assert "130.4 GiB of weights do not fit into 22.1 GiB" in error["message"]


async def test_what_can_be_had_is_taken(client: httpx.AsyncClient, make_model: MakeModel) -> None:
    await make_model()
    placement = {
        "accelerators": ["L4", "A10G"],
        "regions": ["us-east-1"],
        "spot": "prefer",
        "max_usd_per_hour": 4.0,
    }
    spec = {"name": "chat", "model": "smollm2", "placement": placement}
    answer = await client.post("/deployments", json=spec)
    assert answer.status_code == 201
    assert answer.json()["notes"] == []


async def test_an_slo_that_no_allowed_machine_meets_is_refused_with_the_fastest(
    client: httpx.AsyncClient, make_model: MakeModel
) -> None:
    facts = asdict(facts_of(_EIGHT_B))
    await make_model(parameters=8_030_000_000, facts=facts, max_context_tokens=8192)
    placement = {"accelerators": ["L4", "A10G"]}
    spec = {"name": "chat", "model": "smollm2", "placement": placement}
    answer = await client.post("/deployments", json={**spec, "slo": {"tpot_ms": 10.0}})
    [error] = answer.json()["errors"]
    assert error["field"] == "slo"
    assert "on A10G, the fastest of them" in error["message"]
    assert "(SLO 10)" in error["message"]
    answer = await client.post("/deployments", json={**spec, "slo": {"tpot_ms": 0.02}})
    assert "(SLO 0.02)" in answer.json()["errors"][0]["message"]
    assert (await client.post("/deployments", json={**spec, "slo": {"tpot_ms": 100.0}})).is_success


async def test_a_context_that_leaves_no_room_for_one_sequence_is_refused(
    client: httpx.AsyncClient, make_model: MakeModel
) -> None:
    """Weights alone would fit."""
    facts = asdict(facts_of(_EIGHT_B))
    await make_model(parameters=8_030_000_000, facts=facts, max_context_tokens=131_072)
    placement = {"accelerators": ["L4"]}
    spec = {"name": "chat", "model": "smollm2", "placement": placement}
    engine = {"max_context_tokens": 131_072}
    answer = await client.post("/deployments", json={**spec, "engine": engine})
    [error] = answer.json()["errors"]
    assert "for one context of 131072 tokens" in error["message"]


async def test_a_dry_run_tells_what_a_million_tokens_cost_where_the_model_is_known(
    client: httpx.AsyncClient, make_model: MakeModel
) -> None:
    """A tighter SLO allows smaller batches, so each token costs more."""
    facts = asdict(facts_of(_EIGHT_B))
    await make_model(parameters=8_030_000_000, facts=facts, max_context_tokens=8192)
    placement = {"instance_types": ["g6e.xlarge"]}
    prices = []
    for tpot_ms in (200.0, 28.0):
        spec = {"model": "smollm2", "placement": placement, "slo": {"tpot_ms": tpot_ms}}
        answer = await client.put("/deployments/chat", params={"dry_run": "true"}, json=spec)
        [machine] = answer.json()["preview"]["machines"]
        prices.append(machine["usd_per_million_tokens"])
    assert 0 < prices[0] < prices[1] < 10


async def test_a_dry_run_names_the_dearer_machine_whose_tokens_are_cheaper(
    client: httpx.AsyncClient, make_model: MakeModel
) -> None:
    facts = asdict(facts_of(_EIGHT_B))
    await make_model(parameters=8_030_000_000, facts=facts, max_context_tokens=8192)
    kinds = ["g6.xlarge", "g6e.xlarge"]
    for allowed, expected in ((kinds, "g6e.xlarge"), (kinds[1:], None)):
        spec = {"model": "smollm2", "placement": {"instance_types": allowed}}
        answer = await client.put("/deployments/chat", params={"dry_run": "true"}, json=spec)
        preview = answer.json()["preview"]
        assert preview["machines"][0]["instance_type"] == allowed[0]
        busy = preview["cheapest_when_busy"]
        assert (busy and busy["instance_type"]) == expected


async def test_a_dry_run_tells_the_price_of_whole_machines(
    client: httpx.AsyncClient, make_model: MakeModel
) -> None:
    """A replica alone on a machine of eight devices pays for all of them."""
    await make_model()
    spec = {
        "model": "smollm2",
        "placement": {"accelerators": ["A100"]},
        "scaling": {"min_replicas": 1, "max_replicas": 9},
    }
    answer = await client.put("/deployments/chat", params={"dry_run": "true"}, json=spec)
    preview = answer.json()["preview"]
    machine = preview["machines"][0]
    whole = machine["usd_per_hour"] * machine["devices"]
    assert (machine["instance_type"], machine["devices"]) == ("p4d.24xlarge", 8)
    assert preview["usd_per_hour_at_min"] == pytest.approx(whole)
    assert preview["usd_per_hour_at_max"] == pytest.approx(2 * whole)


async def test_of_machines_the_cheapest_whole_ones_are_named_first(
    client: httpx.AsyncClient, make_model: MakeModel
) -> None:
    await make_model()
    kinds = ["g6.12xlarge", "g6.8xlarge"]
    assert await _first(client, kinds, least=1) == "g6.8xlarge"
    assert await _first(client, kinds, least=4) == "g6.12xlarge"


async def _first(client: httpx.AsyncClient, kinds: list[str], least: int) -> str:
    scaling = {"min_replicas": least, "max_replicas": 4}
    spec = {"model": "smollm2", "placement": {"instance_types": kinds}, "scaling": scaling}
    answer = await client.put("/deployments/chat", params={"dry_run": "true"}, json=spec)
    return str(answer.json()["preview"]["machines"][0]["instance_type"])
