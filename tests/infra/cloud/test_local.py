"""The local cloud: the contract, and what only a host daemon promises."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from infra.cloud import UnknownCloud, open_cloud
from infra.cloud.base import Cloud, CloudError, CloudInstanceState, LaunchRequest, Market
from infra.cloud.local.client import LocalCloud
from infra.process import end_with_parent
from infra.settings import Settings
from tests.fixtures.processes import alive
from tests.fixtures.waiting import block_until
from tests.infra.cloud.contract import CloudContract, MakeRequest, wait_for_state

PROGRAM = """
import os, signal, subprocess, sys, time
mode = os.environ.get("MODE", "wait")
print("hello from", os.getpid(), flush=True)
if mode == "crash":
    print("the disk is made of cheese", flush=True)
    sys.exit(3)
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if mode == "children":
    child = subprocess.Popen(["sleep", "600"])
    print("child", child.pid, flush=True)
if mode == "environment":
    print(sorted(os.environ), flush=True)
if mode == "loud":
    for _ in range(2000):
        print("x" * 9999, flush=True)
print("up", flush=True)
while True:
    time.sleep(60)
"""


class Daemon:
    def __init__(self, home: Path) -> None:
        self.settings = Settings(home=home)
        environment = {**os.environ, "TAMER_HOME": str(home), "TAMER_ADMIN_KEY": "a-secret"}
        command = [sys.executable, "-m", "infra.cloud.local"]
        command += ["--stop-limit-s", "0.5", "--shutdown-limit-s", "0.5"]
        command += ["--", sys.executable, "-S", "-c", PROGRAM]
        self.process = subprocess.Popen(
            command,
            env=environment,
            stderr=subprocess.PIPE,
            preexec_fn=end_with_parent(),  # noqa: PLW1509
        )

    def wait_until_ready(self) -> None:
        transport = httpx.HTTPTransport(uds=str(self.settings.cloud_socket), verify=False)
        with httpx.Client(transport=transport, base_url="http://daemon") as client:

            def answers() -> bool:
                try:
                    return client.get("/livez").is_success
                except httpx.TransportError:
                    return False

            block_until(answers, "the daemon answers")

    def log(self, instance_id: str) -> str:
        path = self.settings.logs_dir / "instances" / f"{instance_id}.log"
        return path.read_text() if path.exists() else ""

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)
        if self.process.stderr:
            self.process.stderr.close()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One for all tests that let it live; each uses instance ids of its own."""
    daemon = Daemon(tmp_path_factory.mktemp("daemon") / "home")
    daemon.wait_until_ready()
    yield daemon
    daemon.stop()


@pytest.fixture
def doomed_daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path / "home")
    daemon.wait_until_ready()
    yield daemon
    daemon.stop()


@pytest.fixture
async def cloud(daemon: Daemon) -> AsyncIterator[Cloud]:
    adapter = open_cloud(daemon.settings)
    yield adapter
    await adapter.close()


@pytest.fixture
async def doomed_cloud(doomed_daemon: Daemon) -> AsyncIterator[Cloud]:
    adapter = open_cloud(doomed_daemon.settings)
    yield adapter
    await adapter.close()


def request(instance_id: str, **user_data: str) -> LaunchRequest:
    return LaunchRequest(
        instance_id=instance_id,
        instance_type="local",
        zone="local",
        market=Market.ON_DEMAND,
        user_data=user_data,
    )


@pytest.fixture
def requests() -> MakeRequest:
    return request


class TestContract(CloudContract):
    pass


async def test_the_program_gets_its_user_data_and_no_secret(daemon: Daemon, cloud: Cloud) -> None:
    await cloud.launch(request("i-env", MODE="environment", TAMER_JOIN_TOKEN="once"))
    block_until(lambda: "up\n" in daemon.log("i-env"), "it is up")
    said = daemon.log("i-env")
    assert "TAMER_JOIN_TOKEN" in said
    assert "TAMER_HOME" in said
    assert "PATH" in said
    assert "TAMER_ADMIN_KEY" not in said


async def test_an_instance_that_crashes_is_described_with_its_last_words(cloud: Cloud) -> None:
    await cloud.launch(request("i-crash", MODE="crash"))
    ended = await wait_for_state(cloud, "i-crash", CloudInstanceState.TERMINATED)
    assert ended.reason == "exit code 3: the disk is made of cheese"


async def test_an_instance_that_ignores_sigterm_is_killed(daemon: Daemon, cloud: Cloud) -> None:
    await cloud.launch(request("i-stubborn", MODE="stubborn"))
    block_until(lambda: "up\n" in daemon.log("i-stubborn"), "it is up")
    await cloud.terminate("i-stubborn")
    ended = await wait_for_state(cloud, "i-stubborn", CloudInstanceState.TERMINATED)
    assert "SIGKILL" in ended.reason


async def test_what_an_instance_started_ends_with_it(daemon: Daemon, cloud: Cloud) -> None:
    launched = await cloud.launch(request("i-parent", MODE="children"))
    block_until(lambda: "up\n" in daemon.log("i-parent"), "it is up")
    child = int(daemon.log("i-parent").split("child ")[1].split()[0])
    assert alive(child)
    os.kill(int(launched.cloud_id.removeprefix("local-")), signal.SIGKILL)
    await wait_for_state(cloud, "i-parent", CloudInstanceState.TERMINATED)
    block_until(lambda: not alive(child), "it has ended")


async def test_a_loud_instance_does_not_fill_the_disk(daemon: Daemon, cloud: Cloud) -> None:
    await cloud.launch(request("i-loud", MODE="loud"))
    block_until(lambda: daemon.log("i-loud").endswith("up\n"), "it is up")
    written = sum(each.stat().st_size for each in (daemon.settings.logs_dir).rglob("*"))
    assert written < 17 << 20


async def test_no_instance_survives_the_death_of_the_daemon(
    doomed_daemon: Daemon, doomed_cloud: Cloud
) -> None:
    launched = await doomed_cloud.launch(request("i-orphan"))
    pid = int(launched.cloud_id.removeprefix("local-"))
    assert alive(pid)
    doomed_daemon.process.kill()
    doomed_daemon.process.wait()
    block_until(lambda: not alive(pid), "it has ended")
    with pytest.raises(CloudError) as refused:
        await doomed_cloud.describe()
    assert refused.value.retryable


async def test_a_stopped_daemon_leaves_no_process_and_no_socket(
    doomed_daemon: Daemon, doomed_cloud: Cloud
) -> None:
    launched = await doomed_cloud.launch(request("i-last", MODE="stubborn"))
    block_until(lambda: "up\n" in doomed_daemon.log("i-last"), "it is up")
    doomed_daemon.stop()
    assert not alive(int(launched.cloud_id.removeprefix("local-")))
    assert not doomed_daemon.settings.cloud_socket.exists()


@pytest.mark.parametrize("instance_id", ["../escape", "", "a/b", ".hidden", "x" * 200])
async def test_an_id_that_is_no_name_is_refused_for_good(cloud: Cloud, instance_id: str) -> None:
    with pytest.raises(CloudError) as refused:
        await cloud.launch(request(instance_id))
    assert not refused.value.retryable
    assert instance_id not in {each.instance_id for each in await cloud.describe()}


def test_only_this_user_may_open_the_socket(daemon: Daemon) -> None:
    assert stat.S_IMODE(daemon.settings.cloud_socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(daemon.settings.run_dir.stat().st_mode) == 0o700


def test_a_second_daemon_on_the_same_socket_gives_up(daemon: Daemon) -> None:
    second = Daemon(daemon.settings.home)
    assert second.process.wait(10) == 1
    assert second.process.stderr is not None
    assert b"already listens" in second.process.stderr.read()
    second.stop()
    daemon.wait_until_ready()


async def test_a_cloud_without_its_daemon_says_so_and_may_be_tried_again(tmp_path: Path) -> None:
    cloud = LocalCloud(tmp_path / "nobody.sock")
    with pytest.raises(CloudError, match="tamer up") as refused:
        await cloud.launch(request("i-any"))
    assert refused.value.retryable
    await cloud.close()


def test_an_unknown_cloud_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UnknownCloud, match="nimbus"):
        open_cloud(Settings(home=tmp_path, cloud="nimbus"))
