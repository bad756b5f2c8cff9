"""EC2 end to end: launched by fleets, booted by user data, joined, asked, ended; nothing left."""

from __future__ import annotations

from tests.fixtures.spot_platform import SpotPlatform, spot_spec
from tests.fixtures.waiting import block_until


def test_a_request_wakes_a_machine_that_boots_joins_answers_and_is_ended_when_idle(
    spot: SpotPlatform,
) -> None:
    spot.deploy(spot_spec("chat"))
    spot.wait_for("chat", ready=0)
    assert not spot.running()
    assert spot.stream("chat", 40) == spot.expected(40)
    [cloud_id] = spot.running()
    assert len(spot.region.layer.fleets) == 1, "launched once"
    [row] = spot.api.get("/instances").json()["data"]
    assert row["cloud_id"] == cloud_id
    written = spot.region.layer.machines[cloud_id].log.with_name("agent.env").read_text()
    assert "TAMER_STANDBY=off" in written, "the launch template's own part has run"
    spot.wait_until_nothing_is_left()
    told = spot.explained("chat")
    assert "provision: launch" in told
    assert "provision: empty" in told


def test_a_stream_goes_on_when_the_cloud_takes_the_machine_and_explain_says_so(
    spot: SpotPlatform,
) -> None:
    spot.deploy(spot_spec("chat", min_replicas=1))
    spot.wait_for("chat", ready=1)
    [taken] = spot.running()
    text = spot.stream("chat", 120, after=20, do=lambda: spot.region.take(taken))
    assert text == spot.expected(120)
    assert taken not in spot.running()
    told = spot.command("explain", "chat", "--limit", "50").stdout
    assert "provision: ended_by_cloud" in told
    assert "SpotInstanceTermination" in told


def test_expired_credentials_are_one_clear_reason_and_no_failed_start(spot: SpotPlatform) -> None:
    faults = spot.region.layer.faults
    faults.expired = True
    spot.deploy(spot_spec("chat", min_replicas=1))
    block_until(lambda: "does not accept the credentials" in spot.reason("chat"), "it says so")
    calls = spot.region.layer.calls.total()
    assert calls < 30, "no storm"
    faults.expired = False
    spot.wait_for("chat", ready=1, deadline_s=90.0)
    assert "launch_waits" in " ".join(spot.explained("chat"))
    assert len(spot.running()) == 1


def test_a_quota_lets_serve_what_is_there_and_is_asked_again_when_it_grows(
    spot: SpotPlatform,
) -> None:
    spot.region.layer.market.quota = 1
    spot.deploy(spot_spec("chat", min_replicas=2, max_replicas=2))
    block_until(lambda: "quota" in spot.reason("chat"), "it says so", 60.0)
    assert len(spot.running()) == 1
    assert spot.stream("chat", 10) == spot.expected(10)
    assert len(spot.region.layer.fleets) < 10, "each quota is asked once, and then left alone"
    spot.region.layer.market.quota = None
    spot.forget_quotas()
    spot.wait_for("chat", ready=2)
    assert "provision: launch_refused" in spot.explained("chat")
