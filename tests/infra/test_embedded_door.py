"""The embedded Valkey on TCP: only with a password, and agents cannot reach the broker."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from infra.embedded import server_command
from infra.embedded_door import agent_url, prepare_door
from infra.private_folder import make_private
from infra.settings import Settings
from tests.fixtures.ports import free_port
from tests.fixtures.waiting import block_until


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    settings = Settings(home=tmp_path, embedded_port=free_port())
    make_private(settings.run_dir)
    yield settings
    shutil.rmtree(settings.run_dir)  # not in the home where that has a long path


Start = Callable[[Settings], None]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts the server of these settings, as `tamer up` does."""
    processes = []

    def run(settings: Settings) -> None:
        door = prepare_door(settings)
        command = server_command(settings.embedded_socket, None, door)
        processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        block_until(lambda: _answers(settings.jobs), "Valkey answers")

    yield run
    for process in processes:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        with redis.Redis.from_url(url) as client:
            return bool(client.ping())
    except redis.ConnectionError:
        return False


def test_nobody_comes_in_without_the_password(settings: Settings, start: Start) -> None:
    start(settings)
    stranger = redis.Redis(port=settings.embedded_port)
    with pytest.raises(redis.AuthenticationError):
        stranger.ping()
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=settings.embedded_port, password="guessed").ping()


def test_our_processes_use_queue_and_broker_on_the_socket(settings: Settings, start: Start) -> None:
    from kombu import Connection

    start(settings)
    with Connection(settings.broker) as broker:
        broker.connect()
        assert broker.default_channel.client.ping()


def test_an_agent_can_run_the_queue_but_neither_reach_the_broker_nor_rule_the_server(
    settings: Settings, start: Start
) -> None:
    start(settings)
    url = agent_url(settings, "127.0.0.1")
    agent = redis.Redis.from_url(url)
    agent.xadd("stream", {"a": "b"})
    source = "#!lua name=own\nredis.register_function('own_f', function() return 1 end)"
    agent.function_load(source, replace=True)
    assert agent.fcall("own_f", 0) == 1
    assert agent.info("server") and agent.info("memory")
    for refused in (
        ["SELECT", "1"],
        ["FLUSHALL"],
        ["KEYS", "*"],
        ["FUNCTION", "FLUSH"],
        ["CONFIG", "GET", "*"],
        ["ACL", "LIST"],
        ["CLIENT", "LIST"],
    ):
        with pytest.raises(redis.ResponseError, match=r"[Nn]o permissions"):
            agent.execute_command(*refused)


def test_a_password_is_made_once_and_stays_when_the_port_is_closed_again(
    settings: Settings, start: Start
) -> None:
    prepare_door(settings)
    password = settings.embedded_password
    assert len(password) >= 32
    closed = settings.model_copy(update={"embedded_port": 0})
    start(closed)
    assert closed.embedded_password == password
    with pytest.raises(redis.ConnectionError):
        redis.Redis(port=settings.embedded_port).ping()


def test_no_secret_is_readable_by_others_or_on_the_command_line(settings: Settings) -> None:
    door = prepare_door(settings)
    assert door is not None
    for file in (door.users_file, settings.embedded_password_file):
        assert file.stat().st_mode & 0o077 == 0
    assert settings.embedded_password not in door.users_file.read_text()
    command = " ".join(server_command(settings.embedded_socket, None, door))
    assert settings.embedded_password not in command


def test_without_a_port_there_is_no_password_and_no_door(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert prepare_door(settings) is None
    assert settings.embedded_password == ""
    assert list(tmp_path.iterdir()) == []
