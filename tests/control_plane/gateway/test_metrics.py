"""What the gateway counts of requests, and who may read it."""

from __future__ import annotations

import asyncio

from infra.wire import FinishReason
from tests.control_plane.gateway.conftest import MODEL, REVISION, Gateway, Replica
from tests.fixtures.metric_samples import scraped, value
from tests.fixtures.waiting import eventually

WHERE = {"deployment": MODEL, "revision": REVISION}
COUNTED = (
    "time_to_first_token_seconds_count",
    "time_per_output_token_seconds_count",
    "e2e_request_latency_seconds_count",
    "prompt_tokens_total",
    "generation_tokens_total",
)


def _counted() -> dict[str, float]:
    return {name: value(name, **WHERE) for name in COUNTED}


def _requests(outcome: str) -> float:
    return value("requests_total", **WHERE, outcome=outcome)


async def test_a_request_is_measured_once_however_many_choices_and_tokens(
    gateway: Gateway, replica: Replica
) -> None:
    before, completed = _counted(), _requests("completed")
    async with gateway.openai() as client:
        serving = asyncio.create_task(replica.answer("abcd", jobs=2))
        await client.completions.create(model=MODEL, prompt=[1, 2, 3], n=2, max_tokens=8)
        await serving
    assert {name: each - before[name] for name, each in _counted().items()} == {
        "time_to_first_token_seconds_count": 1,
        "time_per_output_token_seconds_count": 1,
        "e2e_request_latency_seconds_count": 1,
        "prompt_tokens_total": 3,
        "generation_tokens_total": 8,
    }
    assert _requests("completed") - completed == 1


async def test_a_client_that_leaves_is_counted_as_cancelled_without_a_first_token(
    gateway: Gateway, replica: Replica
) -> None:
    before, cancelled = _counted(), _requests("cancelled")
    async with gateway.openai() as client:
        stream = await client.completions.create(model=MODEL, prompt="x", stream=True)
        await replica.take()
        await stream.close()

    async def counted() -> bool:
        return _requests("cancelled") == cancelled + 1

    await eventually(counted)
    first_tokens = "time_to_first_token_seconds_count"
    assert _counted()[first_tokens] == before[first_tokens]


async def test_a_lost_attempt_and_its_new_offer_are_counted(
    gateway: Gateway, replica: Replica
) -> None:
    lost = value("attempts_lost_total", revision=REVISION, cause="given_back")
    offered = value("reoffers_total", revision=REVISION)
    async with gateway.openai() as client:
        asking = asyncio.create_task(
            client.completions.create(model=MODEL, prompt="x", max_tokens=2)
        )
        lease, _ = await replica.take()
        await replica.say(lease, 0, replica.ids("a"))
        await replica.renew(lease, 1, ttl_s=0.05)
        await replica.say(lease, 1, [], FinishReason.RELEASED)
        await replica.answer("b")
        await asking
    assert value("attempts_lost_total", revision=REVISION, cause="given_back") == lost + 1
    assert value("reoffers_total", revision=REVISION) == offered + 1


async def test_metrics_are_for_admin_keys_and_name_no_tenant_key_or_request(
    gateway: Gateway, replica: Replica
) -> None:
    async with gateway.http() as client:
        serving = asyncio.create_task(replica.answer("a"))
        await client.post(
            "/v1/completions",
            json={"model": MODEL, "prompt": "x", "max_tokens": 1},
            headers={"x-request-id": "req-seen"},
        )
        [spec] = await serving
        assert (await client.get("/metrics")).status_code == 403
        assert (await client.get("/metrics", headers={"authorization": ""})).status_code == 401
    async with gateway.http("test_admin_key") as admin:
        reply = await admin.get("/metrics")
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/plain")
    for secret in ("tenant-1", "key-1", "req-seen", spec.job_id):
        assert secret not in reply.text
    samples = scraped(reply.text)
    assert 0 <= samples["projection_age_seconds", frozenset()] < 60
    assert ("open_jobs", frozenset()) in samples
    labels = {("method", "POST"), ("route", "/v1/completions"), ("status", "200")}
    assert samples["http_server_request_duration_seconds_count", frozenset(labels)] >= 1


async def test_the_series_of_a_deployment_that_is_gone_go_too(
    gateway: Gateway, replica: Replica
) -> None:
    async with gateway.openai() as client:
        serving = asyncio.create_task(replica.answer("a"))
        await client.completions.create(model=MODEL, prompt="x", max_tokens=1)
        await serving
    assert _requests("completed") > 0
    await gateway.announce(name="other")

    async def heard() -> bool:
        return gateway.services.known.route("other") is not None

    await eventually(heard)
    assert _requests("completed") == 0
    assert set(_counted().values()) == {0}
