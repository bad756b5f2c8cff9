from __future__ import annotations

from random import Random
from typing import Any

import pytest

from loadtests.traffic import prompts
from loadtests.traffic.mix import Kind, choose, read_mix
from loadtests.traffic.session import play
from loadtests.traffic.target import ForbiddenTarget, check_target


class _Server:
    """Answers `one`, `two` ... and fails after `answers`."""

    def __init__(self, answers: int = 99) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self._answers = answers

    def send(self, kind: str, path: str, body: dict[str, Any]) -> str | None:
        self.sent.append((path, {**body, "messages": list(body.get("messages", []))}))
        return f"answer {len(self.sent)}" if len(self.sent) <= self._answers else None


def _play(kind: Kind, server: _Server) -> None:
    play(kind, server.send, {"model": "m"}, prompt_tokens=5, turns=3, random=Random(1))


def test_each_turn_of_a_conversation_sends_all_that_was_said() -> None:
    server = _Server()
    _play(Kind.CONVERSATION, server)
    roles = [[message["role"] for message in body["messages"]] for _, body in server.sent]
    assert roles == [
        ["user"],
        ["user", "assistant", "user"],
        ["user", "assistant", "user", "assistant", "user"],
    ]
    assert server.sent[2][1]["messages"][1]["content"] == "answer 1"


def test_a_conversation_ends_with_the_first_failure() -> None:
    server = _Server(answers=1)
    _play(Kind.CONVERSATION, server)
    assert len(server.sent) == 2


@pytest.mark.parametrize(
    ("kind", "path"),
    [(Kind.CHAT, "/v1/chat/completions"), (Kind.COMPLETION, "/v1/completions")],
)
def test_single_requests_go_to_their_route_once(kind: Kind, path: str) -> None:
    server = _Server()
    _play(kind, server)
    assert [sent_to for sent_to, _ in server.sent] == [path]
    assert server.sent[0][1]["model"] == "m"


def test_prompts_have_the_length_asked_for_and_differ() -> None:
    random = Random(3)
    first, second = (prompts.text(40, random) for _ in range(2))
    assert len(first.split()) == len(second.split()) == 40
    assert first != second


def test_a_mix_is_followed() -> None:
    mix = read_mix("chat=3, conversation, completion=0")
    random = Random(5)
    kinds = [choose(mix, random) for _ in range(4000)]
    assert kinds.count(Kind.CHAT) / 4000 == pytest.approx(0.75, abs=0.03)
    assert Kind.COMPLETION not in kinds


@pytest.mark.parametrize("text", ["", "tea=1", "chat=x", "chat=-1", "chat=0"])
def test_a_mix_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read_mix(text)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://localhost", "http://[::1]:80"])
def test_load_may_go_to_this_machine(url: str) -> None:
    check_target(url, allow_remote=False)


@pytest.mark.parametrize("url", ["http://10.0.0.1", "https://example.org", "http://localhost.org"])
def test_load_goes_elsewhere_only_when_told_to(url: str) -> None:
    with pytest.raises(ForbiddenTarget, match="--allow-remote"):
        check_target(url, allow_remote=False)
    check_target(url, allow_remote=True)


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "file:///etc", "http://[", "http://"])
def test_a_target_is_an_http_url(url: str) -> None:
    with pytest.raises(ForbiddenTarget):
        check_target(url, allow_remote=True)
