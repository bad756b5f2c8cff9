"""`control_plane/api/README.md` tells every route, and the defaults of a specification; what the
first page shows of one is taken."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest
import yaml

import control_plane.api
from control_plane.api.deployments.spec import DeploymentSpec

README = Path(control_plane.api.__file__).with_name("README.md").read_text()
FIRST_PAGE = (Path(__file__).parents[3] / "README.md").read_text()
_ROUTE = re.compile(r"`(GET|POST|PUT|DELETE) (/[^`\s?]*)")
_PARAMETER = re.compile(r"\{[^}]*\}")
_ELSEWHERE = {"GET /api/v1/openapi.json", "GET /api/v1/model-files/..."}
"""Not told by the contract itself, and told twice."""


def _routes(found: set[tuple[str, str]]) -> set[str]:
    """Without the names of their parameters."""
    return {f"{method} {_PARAMETER.sub('_', path)}" for method, path in found}


async def test_every_route_is_in_the_readme_and_no_other(client: httpx.AsyncClient) -> None:
    contract = (await client.get("/openapi.json")).json()
    served = {(verb.upper(), path) for path, verbs in contract["paths"].items() for verb in verbs}
    assert _routes(set(_ROUTE.findall(README))) - _ELSEWHERE == _routes(served)


def test_the_defaults_of_a_specification_are_those_in_the_readme() -> None:
    told = re.search(r"```json\n(\{\"name\".*?)```", README, re.DOTALL)
    assert told is not None
    spec = DeploymentSpec.model_validate({"name": "chat", "model": "smollm2"})
    assert json.loads(told[1]) == spec.model_dump(mode="json")


@pytest.mark.parametrize("shown", re.findall(r"```yaml\n(.*?)```", FIRST_PAGE, re.DOTALL))
def test_what_the_first_page_shows_of_a_deployment_is_taken(shown: str) -> None:
    said = {"name": "chat", "model": "smollm2", **yaml.safe_load(shown)}
    DeploymentSpec.model_validate(said)
