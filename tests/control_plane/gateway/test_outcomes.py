"""What gateways tell the controller of each revision, and how traffic is shared among them."""

from __future__ import annotations

import asyncio
from collections import Counter

from redis.asyncio import Redis
from tokenizers import Tokenizer

from control_plane.gateway.destination import pick_target
from control_plane.gateway.outcomes import Outcomes, Times
from infra import outcomes
from infra.wire import Route, Target
from tests.control_plane.gateway.conftest import MODEL, REVISION, Gateway, Replica
from tests.fixtures.waiting import eventually


def route(*targets: Target, ttft_s: float = 0.0, tpot_s: float = 0.0) -> Route:
    return Route(
        deployment_id="dep-1",
        name="chat",
        created_at=0,
        targets=list(targets),
        text_digest="",
        max_context_tokens=0,
        vocabulary_size=0,
        ttft_limit_s=ttft_s,
        tpot_limit_s=tpot_s,
    )


def test_requests_are_shared_by_weight_and_each_always_goes_to_the_same_revision() -> None:
    shared = route(Target("old", 75), Target("new", 25))
    ids = [f"request-{number}" for number in range(4000)]
    first = {each: pick_target(shared, each) for each in ids}
    taken = Counter(each.revision_id for each in first.values() if each is not None)
    assert abs(taken["new"] / 4000 - 0.25) < 0.03
    assert first == {each: pick_target(shared, each) for each in ids}


def test_a_share_that_grows_keeps_those_that_went_there_before() -> None:
    few, more = (
        route(Target("old", 90), Target("new", 10)),
        route(Target("old", 60), Target("new", 40)),
    )
    ids = [f"request-{number}" for number in range(1000)]
    went = [each for each in ids if _revision(few, each) == "new"]
    assert went
    assert {_revision(more, each) for each in went} == {"new"}


def _revision(of: Route, request_id: str) -> str:
    target = pick_target(of, request_id)
    assert target is not None
    return target.revision_id


async def test_requests_are_counted_against_the_limits_of_their_deployment(valkey: Redis) -> None:
    counted = Outcomes()
    counted.know([route(Target("rev"), ttft_s=0.5, tpot_s=0.05)])
    counted.add("chat", "rev", "completed", Times(0.4, 0.06))
    counted.add("chat", "rev", "completed", Times(0.6, None))
    counted.add("chat", "rev", "failed", Times(None, None))
    counted.add("chat", "rev", "expired", Times(None, None))
    counted.add("chat", "rev", "cancelled", Times(0.1, 0.01))
    for _ in range(2):  # what was sent is not sent again
        await counted.send(valkey)
    assert await outcomes.read(valkey, ["rev", "other"]) == {
        "rev": {
            "requests": 4,
            "errors": 2,
            "ttft": 2,
            "ttft_missed": 1,
            "tpot": 1,
            "tpot_missed": 1,
        },
        "other": dict.fromkeys(outcomes.FIELDS, 0),
    }


async def test_where_no_gateway_counts_sums_are_not_believed(valkey: Redis) -> None:
    assert await outcomes.read(valkey, ["rev"]) is None
    await outcomes.publish(valkey, {})
    assert await outcomes.read(valkey, ["rev"]) is not None


async def test_a_gateway_tells_what_its_requests_came_to(
    gateway: Gateway, valkey: Redis, tokenizer: Tokenizer
) -> None:
    revision = "told"  # of this test alone: the counts are the process's
    replica = Replica(valkey, tokenizer, revision=revision)
    await gateway.publish(targets=[Target(revision)], ttft_limit_s=60.0)
    async with gateway.openai() as client:
        serving = asyncio.create_task(replica.answer("abcd"))
        await client.completions.create(model=MODEL, prompt="x", max_tokens=4)
        await serving

    async def told() -> bool:
        now = await outcomes.read(gateway.redis, [revision])
        counted = {} if now is None else now[revision]
        return [counted.get(field) for field in ("requests", "errors", "ttft")] == [1, 0, 1]

    await eventually(told)


async def test_a_target_speaks_for_its_own_model(gateway: Gateway, replica: Replica) -> None:
    target = Target(REVISION, 100, gateway.route_digest, 8, 300)
    await gateway.publish(targets=[target], text_digest="of-another-model", max_context_tokens=512)
    async with gateway.openai() as client:
        serving = asyncio.create_task(replica.answer("abcd"))
        answered = await client.completions.create(model=MODEL, prompt=[1, 2, 3], max_tokens=4)
        await serving
        assert answered.usage is not None
        assert answered.usage.completion_tokens == 4
    async with gateway.http() as http:
        body = {"model": MODEL, "prompt": [1, 2, 3], "max_tokens": 6}
        refused = await http.post("/v1/completions", json=body)
    assert refused.status_code == 400
    assert "maximum context length is 8 tokens" in refused.json()["error"]["message"]
