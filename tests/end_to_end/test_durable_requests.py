"""What outlives the gateway, and the whole platform: background completions, keys, models."""

from __future__ import annotations

import os
import signal
from typing import Any

import httpx
import pytest

from loadtests.paced.context_hash import expected_tokens
from tests.end_to_end.test_main_job import PACED, model_tokenizer
from tests.fixtures.platform import Platform
from tests.fixtures.waiting import block_until

PROMPT = [300, 400, 500]
TOKENS = 120
SPEC = {**PACED, "name": "durable", "scaling": {"min_replicas": 1, "max_replicas": 1}}


class Background:
    def __init__(self, platform: Platform) -> None:
        self._http = httpx.Client(
            base_url=f"{platform.url}/v1",
            headers={"authorization": f"Bearer {platform.key}"},
            timeout=30,
        )

    def begin(self) -> str:
        body = {"model": "durable", "prompt": PROMPT, "max_tokens": TOKENS, "background": True}
        reply = self._http.post("/completions", json=body)
        assert reply.status_code == 202, reply.text
        return str(reply.json()["id"])

    def get(self, completion_id: str) -> dict[str, Any]:
        """Empty while nobody answers."""
        try:
            reply = self._http.get(f"/completions/{completion_id}")
        except httpx.TransportError:
            return {}
        body: dict[str, Any] = reply.json() if reply.status_code == 200 else {}
        return body

    def has_begun(self, completion_id: str) -> None:
        block_until(
            lambda: self.get(completion_id).get("status") == "in_progress", "tokens come", 60
        )

    def text(self, completion_id: str) -> str:
        block_until(
            lambda: self.get(completion_id).get("status") not in (None, "queued", "in_progress"),
            "it has ended",
            120,
        )
        ended = self.get(completion_id)
        assert ended["status"] == "completed", ended
        return str(ended["choices"][0]["text"])


@pytest.fixture
def background(platform: Platform) -> Background:
    return Background(platform)


def _whole(platform: Platform) -> str:
    text: str = model_tokenizer(platform).decode(expected_tokens(PROMPT, TOKENS))
    return text


def test_it_survives_its_gateway_killed(platform: Platform, background: Background) -> None:
    begun = _begin(platform, background)
    [server] = [
        pid for pid, command in platform.processes().items() if "control_plane.serve" in command
    ]
    os.kill(server, signal.SIGKILL)
    assert background.text(begun) == _whole(platform)


def test_it_survives_ctrl_c_which_leaves_nothing_running(
    platform: Platform, background: Background
) -> None:
    key = platform.api.post("/keys", json={"name": "kept", "scopes": ["inference"]}).json()
    begun = _begin(platform, background)
    assert platform.stop() == 0
    assert platform.processes() == {}
    assert list((platform.home / "run").glob("*")) == []
    platform.start()
    assert "Paris" in platform.output
    assert background.text(begun) == _whole(platform)
    assert platform.command("audit").returncode == 0
    client = platform.openai().with_options(api_key=key["secret"])
    assert client.models.retrieve("smollm2").id == "smollm2", "data are kept"
    assert platform.api.delete("/deployments/durable").status_code == 202


def _begin(platform: Platform, background: Background) -> str:
    platform.deploy(SPEC)
    platform.wait_for("durable", ready=1)
    begun = background.begin()
    background.has_begun(begun)
    return begun
