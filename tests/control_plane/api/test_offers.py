"""What no machine of the cloud can carry is refused where it is asked for, with the numbers."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from infra.settings import Settings
from tests.control_plane.api.conftest import MakeModel

_SEVENTY_B = 70_000_000_000


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
