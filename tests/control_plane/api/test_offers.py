"""What no machine of the cloud can carry is refused where it is asked for, with the numbers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import httpx
import pytest

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
