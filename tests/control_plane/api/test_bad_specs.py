"""What a bad deployment gets: 422, the field's name, and nothing written."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from infra.names import NAME_RULE
from tests.control_plane.api.conftest import MakeModel
from tests.fixtures.database import on_sqlite_alone

pytestmark = on_sqlite_alone

_DEEP: Any = "[" * 100_000


def _scheduled(**changed: Any) -> dict[str, Any]:
    entry = {"cron": "0 8 * * mon-fri", "duration_s": 3600.0, "min_replicas": 1} | changed
    return {"scaling": {"schedule": [entry]}}


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"modle": "x"}, "modle", "did you mean 'model'?"),
        ({"scaling": {"min_replica": 1}}, "scaling.min_replica", "did you mean 'min_replicas'?"),
        ({"engine": {"zzz": 1}}, "engine.zzz", "known here: kind, dtype"),
        ({"name": "Chat"}, "name", NAME_RULE),
        ({"name": "-chat"}, "name", NAME_RULE),
        ({"name": "c" * 64}, "name", NAME_RULE),
        ({"name": "../chat"}, "name", NAME_RULE),
        ({"name": 7}, "name", "string"),
        ({"model": None}, "model", "string"),
        ({"scaling": {"min_replicas": -1}}, "scaling.min_replicas", "greater than or equal to 0"),
        ({"scaling": {"min_replicas": 3}}, "scaling", "raise max_replicas"),
        ({"scaling": {"max_replicas": 0}}, "scaling.max_replicas", "greater than or equal to 1"),
        ({"scaling": {"max_replicas": 65}}, "scaling.max_replicas", "less than or equal to 64"),
        ({"scaling": {"max_replicas": "8"}}, "scaling.max_replicas", "valid integer"),
        ({"scaling": {"max_replicas": True}}, "scaling.max_replicas", "valid integer"),
        ({"scaling": {"idle_s": 0}}, "scaling.idle_s", "greater than 0"),
        ({"scaling": {"keep_warm": "hot"}}, "scaling.keep_warm", "'standby' or 'sleep'"),
        ({"scaling": {"schedule": [{"at": "8:00"}]}}, "scaling.schedule.0.at", "known here: cron"),
        (_scheduled(cron="61 * * * *"), "scaling.schedule.0.cron", "'61' is not 0 to 59"),
        (_scheduled(cron="@daily"), "scaling.schedule.0.cron", "five fields"),
        (_scheduled(timezone="Mars/Olympus"), "scaling.schedule.0.timezone", "no time zone"),
        (_scheduled(min_replicas=0), "scaling.schedule.0.min_replicas", "greater than or equal"),
        (_scheduled(min_replicas=2), "scaling.schedule.0.min_replicas", "above max_replicas (1)"),
        (_scheduled(duration_s=1e9), "scaling.schedule.0.duration_s", "less than or equal"),
        ({"scaling": {"mode": "watch"}}, "scaling.mode", "'act' or 'advise'"),
        ({"scaling": []}, "scaling", "JSON object"),
        ({"engine": {"kind": "vllm"}}, "engine.kind", "here: torch, paced (a test engine)"),
        ({"engine": {"kind": "torhc"}}, "engine.kind", "did you mean 'torch'?"),
        ({"engine": {"quantization": "int4"}}, "engine.quantization", "'none' or 'int8'"),
        ({"engine": {"tensor_parallel": 2}}, "engine.tensor_parallel", "has no effect yet"),
        ({"engine": {"dtype": "int3"}}, "engine.dtype", "float32"),
        ({"engine": {"max_context_tokens": 0}}, "engine.max_context_tokens", "greater than"),
        ({"engine": {"exact": "yes"}}, "engine.exact", "valid boolean"),
        ({"engine": {"options": {"dtype": "x"}}}, "engine.options", "engine.dtype"),
        ({"engine": {"options": {"x": "y" * 20_000}}}, "engine.options", "too long"),
        ({"engine": {"options": {"max_runing": 4}}}, "engine.options", "mean 'max_running'?"),
        ({"engine": {"options": {"zzz": 4}}}, "engine.options", "unknown option 'zzz'"),
        ({"engine": {"options": {"zzz": 4}}}, "engine.options", "there are block_tokens, "),
        (
            {"engine": {"options": {"max_running": "4"}}},
            "engine.options",
            "max_running: expected int, got str",
        ),
        ({"engine": {"options": {"max_running": True}}}, "engine.options", "got bool"),
        ({"engine": {"options": {"max_running": 0}}}, "engine.options", "max_running: expected"),
        ({"engine": {"options": {"max_running": 600}}}, "engine.options", "step_token_budget"),
        (
            {"engine": {"options": {"device": "tpu"}}},
            "engine.options",
            "'tpu'; there are 'auto', 'cpu', 'cuda'",
        ),
        ({"engine": {"dtype": "fp16"}}, "engine.dtype", "say bfloat16"),
        ({"engine": {"dtype": "half"}}, "engine.dtype", "float16 is not supported"),
        ({"slo": {"ttft_ms": 0}}, "slo.ttft_ms", "greater than 0"),
        ({"slo": {"tpot_ms": float(10**9)}}, "slo.tpot_ms", "less than or equal"),
        ({"slo": {"ttft_ms": 500.0, "attainment": 99}}, "slo.attainment", "less than 1"),
        ({"slo": {"attainment": 0.9}}, "slo.attainment", "say one of these too"),
        ({"placement": {"regions": ["US East"]}}, "placement.regions.0", "should match"),
        ({"placement": {"spot": "often"}}, "placement.spot", "'prefer', 'only' or 'never'"),
        ({"placement": {"accelerators": ["H1OO"]}}, "placement.accelerators.0", "H100"),
        ({"placement": {"max_usd_per_hour": 0}}, "placement.max_usd_per_hour", "greater than 0"),
        ({"budget": {"usd_per_day": -1}}, "budget.usd_per_day", "greater than 0"),
        ({"rollout": {"strategy": "instant"}}, "rollout.strategy", "blue_green"),
        ({"model": "../../etc/passwd"}, "model", "registered model"),
    ],
)
async def test_a_bad_field_is_named_with_what_to_do(
    client: httpx.AsyncClient,
    make_model: MakeModel,
    changes: dict[str, Any],
    field: str,
    says: str,
) -> None:
    await make_model()
    answer = await client.post("/deployments", json={"name": "chat", "model": "smollm2", **changes})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    [error] = answer.json()["errors"]
    assert error["field"] == field
    assert says in error["message"]
    assert (await client.get("/deployments")).json()["data"] == []


async def test_missing_fields_are_called_missing(client: httpx.AsyncClient) -> None:
    answer = await client.post("/deployments", json={})
    said = {each["field"]: each["message"] for each in answer.json()["errors"]}
    assert said == dict.fromkeys(("name", "model"), "missing, and it is required")


@pytest.mark.parametrize(
    "body",
    [
        '{"name": "chat", "model": "smollm2", "scaling": {"idle_s": NaN}}',
        '{"name": "chat", "model": "smollm2", "scaling": {"idle_s": Infinity}}',
        '{"name": "chat", "model": "smollm2", "scaling": {"idle_s": 1e999}}',
        '{"name": "chat", "model": "smollm2", "budget": {"usd_per_day": NaN}}',
        '{"name": "chat", "model": "smollm2", "engine": {"options": {"x": NaN}}}',
        '{"name": "chat", "model": "smollm2", "engine": {"options": {"x": [1, -Infinity]}}}',
        '{"name": "chat", "model": "smollm2"',
        "",
        "null",
        "[]",
        '"chat"',
        _DEEP,
        b"\xff\xfe{}",
        '{"name": "ch\\ud800at", "model": "smollm2"}',
        '{"name": "chat", "model": "smol\\u0000lm2"}',
        '{"name": "chat", "model": "sm\\ud800ol"}',
        '{"name": "chat", "model": "smollm2", "engine": {"options": {"a": "\\ud800"}}}',
        '{"name": "chat", "model": "smollm2", "engine": {"options": {"a": 1%s}}}' % ("0" * 400),
    ],
)
async def test_a_malformed_body_is_a_clear_4xx_and_writes_nothing(
    client: httpx.AsyncClient, make_model: MakeModel, body: str | bytes
) -> None:
    await make_model()
    answer = await client.post(
        "/deployments", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code in (400, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]
    assert (await client.get("/deployments")).json()["data"] == []


async def test_a_path_that_contradicts_the_body_is_refused(
    client: httpx.AsyncClient, make_model: MakeModel
) -> None:
    await make_model()
    answer = await client.put("/deployments/chat", json={"name": "other", "model": "smollm2"})
    assert answer.status_code == 422


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1000", "limit=x", "cursor=%27%3B", "cursor=" + "a" * 99]
)
async def test_a_bad_page_is_refused(client: httpx.AsyncClient, query: str) -> None:
    assert (await client.get(f"/deployments?{query}")).status_code == 422
