"""The metrics port: no key, one port a process, and never a reason not to work."""

from __future__ import annotations

import socket

import httpx
import pytest

from infra.metrics import port
from infra.metrics.port import start_metrics
from infra.settings import Settings
from tests.fixtures.metric_samples import scraped
from tests.fixtures.ports import free_port


def test_a_process_serves_its_metrics_and_says_who_it_is() -> None:
    number = start_metrics(Settings(metrics_port=free_port()), "controller")
    reply = httpx.get(f"http://127.0.0.1:{number}/metrics")
    assert reply.headers["content-type"].startswith("text/plain")
    samples = scraped(reply.text)
    assert samples["process_info", frozenset({("process", "controller")})] == 1
    assert any(name == "process_resident_memory_bytes" for name, _ in samples)
    assert httpx.get(f"http://127.0.0.1:{number}/").status_code == 404


def test_processes_that_share_the_setting_take_the_nextfree_port() -> None:
    settings = Settings(metrics_port=free_port())
    first, second = start_metrics(settings, "controller"), start_metrics(settings, "tasks")
    assert settings.metrics_port <= first < second < settings.metrics_port + port.PORTS


def test_without_the_setting_no_port_is_opened() -> None:
    assert start_metrics(Settings(), "controller") == 0


def test_a_process_without_a_free_port_works_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port, "PORTS", 1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert start_metrics(Settings(metrics_port=taken.getsockname()[1]), "tasks") == 0
