"""Starts of a deployment that is at zero, by what stays there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtests.benchmarks.cold_start.first_token import Endpoint, first_token_s
from loadtests.benchmarks.home import Home, NotRunning

IDLE_S = 1.0
LIMIT_S = 180.0
_LOOK_EVERY_S = 0.05
COLD, MACHINE, STANDBY, SLEEP = "none", "machine", "standby", "sleep"
QUANTIZATION = "auto"


@dataclass(frozen=True, slots=True)
class Start:
    first_token_s: float
    """As the client saw it."""
    phases_s: dict[str, float]
    """As the ledger says it."""
    kept_bytes: int
    """Host memory that waited at zero."""


class Deployed:
    """One deployment with this `keep_warm`, at zero between starts."""

    def __init__(self, home: Home, keep_warm: str) -> None:
        self.name = f"cold-{keep_warm}"
        self._home = home
        self._keep_warm = keep_warm
        self._endpoint = Endpoint(home.url, self.name, home.key)
        scaling = {
            "min_replicas": 0,
            "max_replicas": 1,
            "idle_s": IDLE_S,
            "keep_warm": keep_warm,
        }
        home.apply(self.name, {"quantization": QUANTIZATION}, scaling)
        # What the first start on a machine compiles is no part of a start.
        first_token_s(self._endpoint, time.monotonic(), LIMIT_S)

    def start(self, before: Callable[[], None]) -> Start:
        """Wait until it is at zero with all that stays there, do `before`, then ask.

        Raises:
            NotRunning: it does not come to rest.
            NoToken: it did not answer.
        """
        kept = self._at_zero()
        before()
        took_s = first_token_s(self._endpoint, time.monotonic(), LIMIT_S)
        return Start(took_s, self._phases(), kept)

    def delete(self) -> None:
        self._home.delete(self.name)

    def _at_zero(self) -> int:
        """Bytes of memory that wait."""
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            status = self._home.get("/status")
            if self._rests(status):
                waiting: int = status["standbys"]["memory_bytes"]
                return waiting + int(status["sleeping_memory_bytes"])
            time.sleep(_LOOK_EVERY_S)
        raise NotRunning(f"{self.name} does not come to rest: {status}")

    def _rests(self, status: dict[str, Any]) -> bool:
        replicas = next(
            each["replicas"] for each in status["deployments"] if each["name"] == self.name
        )
        standbys = (status["standbys"] or {"count": 0})["count"]
        if self._keep_warm == SLEEP:
            # Its agent says so, too: the memory it told is of its sleep.
            return bool(replicas == {"sleeping": 1} and status["sleeping_memory_bytes"] > 0)
        if self._keep_warm == STANDBY:
            return bool(not replicas and standbys == 1)
        instances = 1 if self._keep_warm == MACHINE else 0
        return bool(not replicas) and sum(status["instances"].values()) == instances

    def _phases(self) -> dict[str, float]:
        """Of the newest line; the controller closes it a moment after the first token."""
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            [newest] = self._home.get(f"/deployments/{self.name}/cold-starts?limit=1")["data"]
            if "first_token" in newest["phases_s"] and newest["outcome"] == "ready":
                return dict(newest["phases_s"])
            time.sleep(_LOOK_EVERY_S)
        raise NotRunning(f"the ledger does not say how {self.name} started: {newest}")


def weights(home: Home) -> list[Path]:
    """Files that a start reads."""
    return sorted(home.model_path().glob("*.safetensors"))
