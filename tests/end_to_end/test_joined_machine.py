"""A machine of somebody's own joins over TCP, serves, dies, comes back, is cut off, and leaves."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import tokenizers

from loadtests.paced.context_hash import expected_tokens
from tests.control_plane.importer.tiny_model import write_directory
from tests.fixtures.joined_box import JoinedBox
from tests.fixtures.neighbour import Neighbour
from tests.fixtures.platform import Platform
from tests.fixtures.ports import free_port
from tests.fixtures.waiting import block_until

LETTERS = range(2, 96)
"""Tokens of the tiny model that are one ASCII character each."""
PROMPT = [10, 20, 30]
SPEC: dict[str, Any] = {
    "name": "paced",
    "model": "tiny",
    "engine": {
        "kind": "paced",
        "options": {
            "tokens_per_s": 50.0,
            "first_token": LETTERS.start,
            "vocabulary_size": len(LETTERS),
        },
    },
    "scaling": {"min_replicas": 1, "max_replicas": 1},
}


SECOND_HOME, OTHER_NETWORK = "second_home", "other_network"
in_a_second_home = pytest.mark.parametrize("neighbour", [SECOND_HOME], indirect=True)
in_another_network = pytest.mark.parametrize("neighbour", [OTHER_NETWORK], indirect=True)


@pytest.fixture(scope="module")
def neighbour(request: pytest.FixtureRequest) -> Neighbour:
    found: Neighbour = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def platform(neighbour: Neighbour, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Without a cloud: what serves must have joined."""
    platform = Platform(
        tmp_path_factory.mktemp("joined") / "home",
        neighbour.address,
        first_model=False,
        TAMER_CLOUD="joined",
        TAMER_EMBEDDED_HOST=neighbour.address,
        TAMER_EMBEDDED_PORT=str(free_port(neighbour.address)),
        TAMER_HEARTBEAT_S="0.5",
        TAMER_INSTANCE_LOST_S="3",
        TAMER_LEASE_S="2",
    )
    platform.start()
    _register_tiny_model(platform)
    platform.deploy(SPEC)
    yield platform
    platform.stop()
    platform.api.close()


@pytest.fixture
def box(neighbour: Neighbour, platform: Platform, tmp_path: Path) -> Iterator[JoinedBox]:
    """A machine that never joined before."""
    box = JoinedBox(neighbour, tmp_path / "box")
    yield box
    box.clear()
    for machine in _machines(platform):
        platform.api.delete(f"/machines/{machine['id']}")


@in_a_second_home
def test_a_machine_serves_through_its_death_and_leaves_with_ctrl_c(
    platform: Platform, box: JoinedBox
) -> None:
    [waiting] = _wait_for_replica(platform, "waits for a machine")
    assert waiting["instance_id"] is None
    box.join(*_line(platform, "--name", "spare"))
    platform.wait_for("paced", ready=1)
    [machine] = _machines(platform)
    assert (machine["name"], machine["instance"]["state"]) == ("spare", "joined")
    assert list((box.home / "worker" / "model-cache").glob("packages/*/manifest.json"))

    def die_and_come_back() -> None:
        box.kill()
        box.join()  # no token: it is known

    assert _stream(platform, 160, after=20, do=die_and_come_back) == _expected(platform, 160)
    [again] = _machines(platform)
    assert again["instance"]["id"] != machine["instance"]["id"]

    platform.wait_for("paced", ready=1)
    box.interrupt()
    assert box.ended() == 0
    assert box.output.rstrip().endswith("left")
    block_until(lambda: _machines(platform)[0]["instance"]["ended_at"], "it is away", 30.0)
    [away] = _machines(platform)
    assert away["instance"]["state"] == "terminated"
    assert "away" in platform.command("worker", "list").stdout


@in_a_second_home
def test_a_machine_that_is_removed_lets_go_and_is_not_let_in_again(
    platform: Platform, box: JoinedBox
) -> None:
    box.join(*_line(platform))
    box.wait_for_line("ready")
    [machine] = _machines(platform)
    removed = platform.command("worker", "remove", machine["name"])
    assert removed.returncode == 0, removed.stderr
    assert box.ended() == 0
    assert "has removed this machine" in box.output
    box.join()
    assert box.ended() == 5
    assert "tamer worker token" in box.output


@in_a_second_home
def test_neither_a_second_process_of_a_home_nor_a_used_token_takes_a_machines_place(
    platform: Platform, box: JoinedBox, neighbour: Neighbour, tmp_path: Path
) -> None:
    line = _line(platform)
    box.join(*line)
    box.wait_for_line("joined")
    second = JoinedBox(neighbour, box.home, tmp_path / "second.txt")
    second.join("--url", platform.url)
    assert second.ended() == 1
    assert "runs on" in second.output and "already" in second.output
    stranger = JoinedBox(neighbour, tmp_path / "stranger")
    stranger.join(*line)
    assert stranger.ended() == 5
    assert "'tamer worker token' makes another" in stranger.output
    [machine] = _machines(platform)
    assert machine["instance"]["state"] == "joined"


@in_another_network
def test_a_machine_that_was_cut_off_is_lost_and_joins_anew_in_mid_stream(
    platform: Platform, box: JoinedBox, neighbour: Neighbour
) -> None:
    box.join(*_line(platform))
    platform.wait_for("paced", ready=1)
    [before] = _machines(platform)

    def cut_off_until_it_is_lost() -> None:
        neighbour.pull_cable()
        block_until(lambda: _machines(platform)[0]["instance"]["ended_at"], "it is lost", 30.0)
        assert "silent" in _machines(platform)[0]["instance"]["reason"]
        neighbour.plug_cable()

    text = _stream(platform, 160, after=20, do=cut_off_until_it_is_lost)
    assert text == _expected(platform, 160)
    [after] = _machines(platform)
    assert after["instance"]["id"] != before["instance"]["id"]
    assert "given up" in box.output


def _line(platform: Platform, *arguments: str) -> tuple[str, ...]:
    """What `tamer worker token` prints, without `tamer worker join`."""
    made = platform.command("worker", "token", "--url", platform.url, *arguments)
    assert made.returncode == 0, made.stderr
    words = shlex.split(made.stdout)
    assert words[:3] == ["tamer", "worker", "join"]
    return tuple(words[3:])


def _machines(platform: Platform) -> list[dict[str, Any]]:
    return list(platform.api.get("/machines").json()["data"])


def _wait_for_replica(platform: Platform, reason: str) -> list[dict[str, Any]]:
    block_until(
        lambda: any(reason in each["reason"] for each in platform.replicas("paced")), reason
    )
    return platform.replicas("paced")


def _stream(platform: Platform, tokens: int, after: int, do: Any) -> str:
    """The text of one streamed completion; `do` happens when `after` pieces have come."""
    text, pieces = "", 0
    with httpx.stream(
        "POST",
        f"{platform.url}/v1/completions",
        headers={"authorization": f"Bearer {platform.key}"},
        json={"model": "paced", "prompt": PROMPT, "max_tokens": tokens, "stream": True},
        timeout=120,
    ) as reply:
        assert reply.status_code == 200
        for line in reply.iter_lines():
            if not line.startswith("data: ") or line == "data: [DONE]":
                continue
            text += json.loads(line[6:])["choices"][0]["text"]
            pieces += 1
            if pieces == after:
                do()
    return text


def _expected(platform: Platform, tokens: int) -> str:
    [file] = (platform.home / "models").glob("*/tokenizer.json")
    tokenizer = tokenizers.Tokenizer.from_file(str(file))
    return str(tokenizer.decode(expected_tokens(PROMPT, tokens, LETTERS)))


def _register_tiny_model(platform: Platform) -> None:
    folder = write_directory(platform.home.parent / "tiny")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 1024}))
    begun = platform.api.post("/models", json={"name": "tiny", "source": str(folder)})
    assert begun.status_code == 202, begun.text
    block_until(
        lambda: platform.api.get("/models/tiny").json()["state"] == "ready", "the model is there"
    )
