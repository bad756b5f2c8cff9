"""Placement end to end: real store, real queue, a cloud that sells different machines."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict

import pytest
from redis.asyncio import Redis
from sqlalchemy import select

from control_plane.api.deployments.rollout import change_revision
from control_plane.controller import notice
from control_plane.controller.limits import Limits
from control_plane.store.clock import read_clock
from control_plane.store.leases import break_lease
from control_plane.store.repositories import pools, replicas
from control_plane.store.repositories.revisions import find_or_add
from control_plane.store.session import Database
from control_plane.store.tables import Decision, Deployment, Instance, Model, Pool, Quota
from infra.cloud.base import CloudInstance, CloudPool, LaunchRequest, Market, Notice, NoticeKind
from infra.cloud.refusals import Throttled
from infra.performance.model_facts import facts_of
from infra.settings import Settings
from infra.states import ReplicaState
from tests.control_plane.controller.cell import Cell
from tests.control_plane.controller.market_cloud import A, B, MarketCloud, offer

SPOT_A = CloudPool("g6.xlarge", A, Market.SPOT)
SPOT_B = CloudPool("g6.xlarge", B, Market.SPOT)
EIGHT_B = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}
STEADY = CloudPool("g6.xlarge", A, Market.ON_DEMAND)


class Traded(Cell):
    cloud: MarketCloud

    async def placings(self, deployment: Deployment) -> list[Decision]:
        return await self.decisions(deployment, "place")

    async def lessons(self) -> Sequence[Pool]:
        async with self.database.snapshot() as session:
            return await pools.of_cloud(session, "aws")

    async def pools(self) -> list[CloudPool]:
        return [pool_of(each) for each in await self.instances()]


def pool_of(instance: Instance) -> CloudPool:
    return CloudPool(instance.instance_type, instance.zone, Market(instance.market))


@pytest.fixture
async def traded(store_settings: Settings, database: Database, valkey: Redis) -> Traded:
    changes = {
        "cloud": "aws",
        "instance_lost_s": 30.0,
        "join_limit_s": 30.0,
        "drain_limit_s": 0.5,
        "crash_wait_s": 0.01,
        "crash_limit": 2,
    }
    return Traded(store_settings.model_copy(update=changes), database, valkey, MarketCloud())


async def test_a_replica_gets_the_cheapest_machine_and_its_price(traded: Traded) -> None:
    chat = await traded.deploy(await traded.model(), min_replicas=1)
    await traded.until_state(chat, "ready")
    [instance] = await traded.instances()
    assert pool_of(instance) == SPOT_A
    assert instance.usd_per_hour == 0.30
    [decision] = await traded.placings(chat)
    assert decision.reason == "cheapest"
    assert decision.outcome["chosen"] == ["1 x g6.xlarge us-east-1a spot at $0.3000/h"]
    assert any("on-demand" in each for each in decision.outcome["rejected"])


async def test_a_plan_tells_what_a_million_tokens_cost_and_what_no_device_can(
    traded: Traded,
) -> None:
    """Of a model whose size is known; and where they would cost less, if there were more."""
    traded.cloud.sold.append(offer("g6e.xlarge", A, Market.SPOT, 0.5, accelerator="L40S"))
    model = await traded.model()
    async with traded.database.transaction() as session:
        row = await session.get_one(Model, model.id)
        row.facts, row.parameters = asdict(facts_of(EIGHT_B)), 8_030_000_000
    chat = await traded.deploy(model, min_replicas=1)
    await traded.until_state(chat, "ready")
    [decision] = await traded.placings(chat)
    assert 0.01 < decision.outcome["usd_per_million_tokens"] < 10
    [busy] = decision.outcome["cheaper_when_busy"]
    assert busy.startswith("g6e.xlarge us-east-1a spot (L40S): $")
    swift = await traded.deploy(model, "swift", min_replicas=1)
    async with traded.database.transaction() as session:
        wanted = await session.get_one(Deployment, swift.id)
        wanted.spec = {**wanted.spec, "slo": {"tpot_ms": 5.0}}
    await traded.until(lambda: traded.placings(swift))
    refused = (await traded.placings(swift))[-1]
    assert refused.reason == "impossible"
    assert any("(SLO 5)" in each for each in refused.outcome["rejected"])


async def test_two_replicas_are_spread_over_two_pools(traded: Traded) -> None:
    chat = await traded.deploy(await traded.model(), min_replicas=2)
    await traded.until_state(chat, "ready")
    assert sorted(await traded.pools()) == [SPOT_A, SPOT_B]


async def test_a_launch_may_take_a_near_equal_and_the_row_says_where_it_went(
    traded: Traded,
) -> None:
    traded.cloud.empty = {SPOT_A}
    chat = await traded.deploy(await traded.model(), min_replicas=1)
    await traded.until_state(chat, "ready")
    [instance] = await traded.instances()
    assert (pool_of(instance), instance.usd_per_hour) == (SPOT_B, 0.32)
    [request] = traded.cloud.requests.values()
    assert request.alternatives == (SPOT_B,)


async def test_a_spot_gap_is_bridged_on_demand_and_is_no_failed_start(traded: Traded) -> None:
    traded.cloud.empty = {SPOT_A, SPOT_B}
    chat = await traded.deploy(await traded.model(), min_replicas=1)
    await traded.until_state(chat, "ready")
    [instance] = [each for each in await traded.instances() if each.state == "joined"]
    assert (pool_of(instance), instance.usd_per_hour) == (STEADY, 0.80)
    assert (await traded.placings(chat))[-1].reason == "spot_gap"
    async with traded.database.snapshot() as session:
        assert await replicas.ended_unready(session, [chat.id], 5) == {}


class Flooded(MarketCloud):
    """Has launched nothing in all its tries, though nothing is wrong with the request."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    async def launch(self, request: LaunchRequest) -> CloudInstance:
        if not self.times:
            return await super().launch(request)
        self.times -= 1
        refusal = Throttled("AWS asks for fewer calls")
        refusal.retryable = False
        raise refusal


async def test_a_cloud_that_is_asked_too_much_is_no_failed_start_and_no_lesson(
    traded: Traded,
) -> None:
    traded.cloud = flooded = Flooded(times=3)
    traded.controller = traded.new_controller()
    chat = await traded.deploy(await traded.model(), min_replicas=1)
    await traded.until_state(chat, "ready")
    assert flooded.launches == 1
    async with traded.database.snapshot() as session:
        assert await replicas.ended_unready(session, [chat.id], 5) == {}
    assert [each.closed_until for each in await traded.lessons()] == [0.0]


async def test_what_was_refused_is_known_after_a_restart(traded: Traded) -> None:
    traded.cloud.empty = {SPOT_A, SPOT_B}
    model = await traded.model()
    chat = await traded.deploy(model, min_replicas=1)
    await traded.until_state(chat, "ready")
    traded.controller = traded.new_controller()
    second = await traded.deploy(model, "second", min_replicas=1)
    await traded.until_state(second, "ready")
    [decision] = await traded.placings(second)
    assert decision.inputs["closed"] == 2


async def test_a_notice_starts_the_replacement_while_the_machine_still_serves(
    traded: Traded,
) -> None:
    chat = await traded.deploy(await traded.model(), min_replicas=1)
    await traded.until_state(chat, "ready")
    [before] = await traded.instances()
    traded.cloud.announce(before.cloud_id)

    async def replaced() -> bool:
        return traded.cloud.launches == 2

    await traded.until(replaced)
    assert traded.cloud.beside == [[], [before.id]]
    assert traded.cloud.announced == []
    await traded.until_state(chat, "ready")


@pytest.mark.parametrize(
    ("trait", "value", "reached"),
    [("silent", True, "booting"), ("becomes", ReplicaState.LOADING, "loading")],
)
async def test_machines_that_are_taken_before_they_serve_are_no_failed_starts(
    traded: Traded, trait: str, value: object, reached: str
) -> None:
    """Two in a row would end the deployment here (`crash_limit`)."""
    traded.script = lambda agent: setattr(agent, trait, value)
    chat = await traded.deploy(await traded.model(), min_replicas=1)
    for round in range(1, 4):

        async def coming(launches: int = round) -> bool:
            states = {each.state for each in await traded.replicas()}
            return traded.cloud.launches == launches and reached in states

        await traded.until(coming)
        for id in traded.cloud.alive():
            traded.cloud.take(id)
    async with traded.database.snapshot() as session:
        assert await replicas.ended_unready(session, [chat.id], 5) == {}
    traded.script = lambda agent: None
    await traded.until_state(chat, "ready")
    told = [each.reason for each in await traded.decisions(chat, "provision")]
    assert told.count("ended_by_cloud") == 3
    assert all(each.losses > 0 for each in await traded.lessons())


async def test_a_notice_counts_against_its_pool_and_a_recommendation_a_little(
    traded: Traded,
) -> None:
    chat = await traded.deploy(await traded.model(), min_replicas=2)
    await traded.until_state(chat, "ready")
    one, two = sorted(await traded.instances(), key=lambda each: each.zone)
    traded.cloud.announce(one.cloud_id)
    traded.cloud.announce(two.cloud_id, NoticeKind.REBALANCE)

    async def learned() -> bool:
        return sum([each.losses > 0 for each in await traded.lessons()]) == 2

    await traded.until(learned)
    first, second = sorted(await traded.lessons(), key=lambda each: each.zone)
    assert first.losses > 2 * second.losses
    states = {each.id: each.state for each in await traded.instances()}
    assert states[two.id] == "joined"


async def test_a_rebalance_recommendation_counts_once_however_often_it_is_told(
    traded: Traded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notice, "_PAUSE_S", 0.0)
    chat = await traded.deploy(await traded.model(), min_replicas=1)
    await traded.until_state(chat, "ready")
    [machine] = await traded.instances()

    async def heard() -> bool:
        return not traded.cloud.announced

    for _ in range(3):
        traded.cloud.announce(machine.cloud_id, NoticeKind.REBALANCE)
        await traded.until(heard)
        assert sum([each.losses for each in await traded.lessons()]) == pytest.approx(0.25, 0.01)


async def test_machines_that_are_taken_while_replicas_load_are_losses_and_no_failed_starts(
    traded: Traded,
) -> None:
    """Two in a row would end the deployment here (`crash_limit`)."""
    traded.script = lambda agent: setattr(agent, "becomes", ReplicaState.LOADING)
    chat = await traded.deploy(await traded.model(), min_replicas=1)
    for round in range(1, 3):

        async def loading(launches: int = round) -> bool:
            states = {each.state for each in await traded.replicas()}
            return traded.cloud.launches == launches and "loading" in states

        await traded.until(loading)
        for id in traded.cloud.alive():
            traded.cloud.take(id)
    async with traded.database.snapshot() as session:
        assert await replicas.ended_unready(session, [chat.id], 5) == {}
    traded.script = lambda agent: None
    await traded.until_state(chat, "ready")
    assert sum([each.losses for each in await traded.lessons()]) == pytest.approx(2.0, rel=0.01)


class SlowQueue(MarketCloud):
    """Hides what it hands out, as SQS does, and takes its time to answer."""

    def __init__(self) -> None:
        super().__init__()
        self.free = asyncio.Event()
        self.asked = 0

    async def notices(self) -> Sequence[Notice]:
        waiting, self.announced = self.announced, []
        self.asked += bool(waiting)
        await self.free.wait()
        return waiting


async def test_notices_that_are_read_slowly_are_acted_upon_all_the_same(
    traded: Traded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notice, "_PAUSE_S", 0.0)
    chat = await traded.deploy(await traded.model(), min_replicas=1)
    await traded.until_state(chat, "ready")
    [before] = await traded.instances()
    traded.cloud = slow = SlowQueue()
    source = notice.NoticeReconciler(traded.database, slow, "aws", Limits.of(traded.settings))
    slow.announce(before.cloud_id)
    assert (await source.run(None), slow.asked) == (0, 1)
    assert (await source.run(None), slow.asked) == (0, 1)
    slow.free.set()
    await asyncio.sleep(0)
    assert (await source.run(None), slow.asked) == (1, 1)
    assert [each.state for each in await traded.instances()] == ["noticed"]


async def test_a_notice_about_a_stranger_harms_nobody(traded: Traded) -> None:
    chat = await traded.deploy(await traded.model(), min_replicas=1)
    await traded.until_state(chat, "ready")
    traded.cloud.announce("i-of-somebody-else")
    await traded.quiet()
    assert [each.state for each in await traded.instances()] == ["joined"]


async def _grown_old(traded: Traded, deployment: Deployment) -> None:
    """Everything has run for long, pools are open again, and a new controller looks at it."""
    await traded.until_state(deployment, "ready")
    await traded.quiet()
    async with traded.database.transaction() as session:
        for replica in await replicas.live(session):
            replica.updated_at -= 7200.0
        for pool in await pools.of_cloud(session, "aws"):
            (await session.get_one(Pool, pool.id)).closed_until = 0.0
    traded.controller = traded.new_controller()


async def test_on_demand_is_given_back_when_spot_is_there_again(traded: Traded) -> None:
    traded.cloud.empty = {SPOT_A, SPOT_B}
    chat = await traded.deploy(await traded.model(), min_replicas=1)
    await _grown_old(traded, chat)
    assert await traded.pools() == [STEADY]
    traded.cloud.empty.clear()
    await _grown_old(traded, chat)

    async def moved() -> bool:
        return await traded.pools() == [SPOT_A]

    await traded.until(moved)
    [decision] = [each for each in await traded.placings(chat) if each.reason == "spot_back"]
    assert decision.inputs["saved_usd_per_hour"] == pytest.approx(0.5, abs=0.05)
    assert (await traded.deployment(chat)).state == "ready"


async def test_a_replica_that_moves_serves_until_another_does(traded: Traded) -> None:
    chat = await traded.deploy(await traded.model(), min_replicas=1)
    await _grown_old(traded, chat)
    [before] = await traded.replicas()
    traded.cloud.sold[:2] = [
        offer("g6.xlarge", A, Market.SPOT, 0.90),
        offer("g6.xlarge", B, Market.SPOT, 0.10),
    ]
    traded.script = lambda agent: setattr(agent, "becomes", ReplicaState.LOADING)

    async def replacing() -> bool:
        return "loading" in [each.state for each in await traded.replicas()]

    await traded.until(replacing)
    states = {each.id: each.state for each in await traded.replicas()}
    assert states[before.id] == "ready"
    assert (await traded.deployment(chat)).state == "ready"
    for agent in traded.agents.values():
        agent.becomes = ReplicaState.READY

    async def replaced() -> bool:
        return before.id not in [each.id for each in await traded.replicas()]

    await traded.until(replaced)


async def test_a_small_saving_moves_nobody(traded: Traded) -> None:
    chat = await traded.deploy(await traded.model(), min_replicas=1)
    await _grown_old(traded, chat)
    traded.cloud.sold[1] = offer("g6.xlarge", B, Market.SPOT, 0.29)
    await traded.quiet()
    assert await traded.pools() == [SPOT_A]


async def _warm_at_zero(traded: Traded) -> Deployment:
    """Its machine stays, with nothing on it."""
    warm = await traded.deploy(await traded.model("w"), "warm", idle_s=0.2, keep_warm="machine")
    await traded.offer(warm, "job-1")
    await traded.until_state(warm, "ready")
    await traded.settle_job(warm, "job-1")
    await traded.until_state(warm, "idle")
    return warm


async def test_a_machine_that_stays_warm_is_not_given_to_another_deployment(
    traded: Traded,
) -> None:
    warm = await _warm_at_zero(traded)
    [kept] = await traded.instances()
    chat = await traded.deploy(await traded.model(), min_replicas=1)
    await traded.until_state(chat, "ready")
    [replica] = await traded.replicas()
    assert replica.instance_id != kept.id
    await traded.offer(warm, "job-2")
    await traded.until_state(warm, "ready")
    [woken] = [each for each in await traded.replicas() if each.deployment_id == warm.id]
    assert woken.instance_id == kept.id


async def test_a_machine_that_stays_warm_is_no_reason_to_move_its_neighbour(
    traded: Traded,
) -> None:
    """Nothing is saved by a move that leaves both machines there."""
    traded.cloud.sold = traded.cloud.sold[:1]
    chat = await traded.deploy(await traded.model(), min_replicas=1)
    await traded.until_state(chat, "ready")
    await _warm_at_zero(traded)
    await _grown_old(traded, chat)
    assert await traded.pools() == [SPOT_A, SPOT_A]
    before = [each.id for each in await traded.replicas()]
    await traded.quiet()
    assert [each.id for each in await traded.replicas()] == before
    assert "cheaper" not in [each.reason for each in await traded.placings(chat)]


async def test_where_machines_are_often_lost_there_is_one_more_until_it_is_quiet(
    traded: Traded,
) -> None:
    chat = await traded.deploy(await traded.model(), min_replicas=2, max_replicas=4)
    await _grown_old(traded, chat)
    async with traded.database.transaction() as session:
        for each in await pools.of_cloud(session, "aws"):
            (await session.get_one(Pool, each.id)).losses = 1000.0
    traded.cloud.sold = traded.cloud.sold[:2]  # or it would go on demand

    async def insured() -> bool:
        return len(await traded.replicas()) > 2

    await traded.until(insured)
    assert (await traded.deployment(chat)).target_replicas == 2
    assert "risk" in [each.reason for each in await traded.placings(chat)]
    async with traded.database.transaction() as session:
        for each in await pools.of_cloud(session, "aws"):
            (await session.get_one(Pool, each.id)).losses = 0.0
    traded.controller = traded.new_controller()
    await traded.until(lambda: _as_many(traded, 2))


async def _as_many(traded: Traded, count: int) -> bool:
    return len(await traded.replicas()) == count


async def test_what_waits_for_spot_alone_says_so(traded: Traded) -> None:
    traded.cloud.empty = {SPOT_A, SPOT_B}
    chat = await traded.deploy(await traded.model(), min_replicas=1, placement={"spot": "only"})

    async def told() -> bool:
        return any(each.reason == "impossible" for each in await traded.placings(chat))

    await traded.until(told)
    [replica] = await traded.replicas()
    assert replica.state == "requested"
    assert "nothing can carry it" in replica.reason
    assert traded.cloud.launches == 0


async def test_a_refused_quota_is_learned_and_the_other_market_is_used(traded: Traded) -> None:
    model = await traded.model()
    chat = await traded.deploy(model, min_replicas=1)
    await traded.until_state(chat, "ready")
    traded.cloud.spent = {Market.SPOT}
    second = await traded.deploy(model, "other", min_replicas=1)
    await traded.until_state(second, "ready")
    assert STEADY in await traded.pools()
    assert (await traded.placings(second))[-1].inputs["quotas"] == {"us-east-1 g spot": 4}


async def test_a_machine_that_leaves_uses_its_quota_until_it_is_gone(
    traded: Traded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notice, "_PAUSE_S", 0.0)
    traded.cloud.quota = 1
    chat = await traded.deploy(await traded.model(), min_replicas=1, placement={"spot": "only"})
    await traded.until_state(chat, "ready")
    await traded.quiet()
    [before] = await traded.instances()
    traded.cloud.announce(before.cloud_id)
    for _ in range(12):  # its agent is still at work, so it goes on running
        await traded.controller.reconcile()
        while traded.mailbox.operation_ids:
            await traded.carry_out(traded.mailbox.operation_ids.pop(0))
    assert traded.cloud.refused <= 1
    [waiting] = [each for each in await traded.replicas() if each.instance_id is None]
    assert "a quota of the AWS account is reached (us-east-1 g spot: 0 virtual" in waiting.reason

    async def replaced() -> bool:
        return traded.cloud.launches == 2

    await traded.until(replaced)
    assert traded.cloud.beside[-1] == []
    await traded.until_state(chat, "ready")


async def test_a_quota_that_is_reached_everywhere_is_the_reason_and_is_asked_again(
    traded: Traded,
) -> None:
    traded.cloud.spent = {Market.SPOT, Market.ON_DEMAND}
    chat = await traded.deploy(await traded.model(), min_replicas=1)

    async def told() -> bool:
        return any("quota of the AWS account" in each.reason for each in await traded.replicas())

    await traded.until(told)
    assert traded.cloud.launches == 0
    async with traded.database.transaction() as session:
        for quota in await session.scalars(select(Quota)):
            quota.until = 0.0
    traded.cloud.spent.clear()
    await traded.until_state(chat, "ready")


async def test_deployments_share_the_slots_of_one_machine(traded: Traded) -> None:
    traded.cloud.sold = [
        offer("g6.12xlarge", A, Market.ON_DEMAND, 1.0, devices=4),
        offer("g6.xlarge", A, Market.ON_DEMAND, 0.8),
    ]
    model = await traded.model()
    one = await traded.deploy(model, "one", min_replicas=1)
    two = await traded.deploy(model, "two", min_replicas=1)
    await traded.until_state(one, "ready")
    await traded.until_state(two, "ready")
    assert [each.instance_type for each in await traded.instances()] == ["g6.12xlarge"]


async def test_in_a_rollout_each_replica_gets_a_machine_for_its_own_model(traded: Traded) -> None:
    """A lost one of the old model needs no machine that is large enough for the new one."""
    large = offer("g6e.xlarge", A, Market.SPOT, 0.9, accelerator="L40S")
    traded.cloud.sold.append(large)
    chat = await traded.deploy(
        await traded.model(), min_replicas=1, placement={"max_usd_per_hour": 1.25}
    )
    await traded.until_state(chat, "ready")
    await begin(traded, chat, await traded.model("large"), parameters=15_000_000_000)

    async def both(small: CloudPool) -> bool:
        ready = [each.instance_id for each in await traded.replicas() if each.state == "ready"]
        there = [pool_of(each) for each in await traded.instances() if each.id in ready]
        return sorted(there) == sorted([small, large.pool])

    await traded.until(lambda: both(SPOT_A))
    [old] = [each for each in await traded.instances() if pool_of(each) == SPOT_A]
    traded.cloud.empty.add(SPOT_A)
    traded.cloud.take(old.id)
    await traded.until(lambda: both(SPOT_B))


async def begin(traded: Traded, chat: Deployment, model: Model, parameters: int) -> None:
    """A canary of another model, that will not end soon."""
    async with traded.database.transaction() as session:
        row = await session.get_one(Deployment, chat.id)
        (await session.get_one(Model, model.id)).parameters = parameters
        now = await read_clock(session)
        options = {"max_context_tokens": 512, "max_running": 2}
        revision = await find_or_add(session, row.id, model, "paced", options, now)
        rollout = {"strategy": "canary", "steps": [10, 100], "step_s": 3600.0}
        spec = {**row.spec, "model": model.name, "rollout": rollout}
        await change_revision(session, row, spec, revision.id, now, False)
        break_lease(row)


async def test_what_exceeds_the_price_limit_waits_with_the_numbers(traded: Traded) -> None:
    chat = await traded.deploy(
        await traded.model(), min_replicas=2, placement={"max_usd_per_hour": 0.5}
    )

    async def told() -> bool:
        return any(each.reason == "impossible" for each in await traded.placings(chat))

    await traded.until(told)
    assert await traded.pools() == [SPOT_A]
