"""Workers that start together: how often do they read the store between them?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.peer_access import weights_key
from infra.process import end_with_parent

_SECRET = b"of the benchmark"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What one worker tells of its load."""

    bytes_by_tier: dict[str, int]
    seconds: float
    digest: str
    """BLAKE3 of the weights that it has."""


class SwarmMember:
    """One worker in a process of its own; a context manager."""

    def __init__(self, uri: str, home: Path, environment: dict[str, str]) -> None:
        inherited = {name: each for name, each in os.environ.items() if "TAMER_" not in name}
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "loadtests.benchmarks.loader.swarm_member"),
                *(uri, weights_key(_SECRET, uri)),
            ],
            env={**inherited, "TAMER_HOME": str(home), **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            preexec_fn=end_with_parent(),  # noqa: PLW1509
        )

    def __enter__(self) -> SwarmMember:
        """Several may start at once, before any is entered."""
        if self._line() != "ready":
            raise RuntimeError("a worker of the swarm did not start: its log says why")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def begin(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"begin\n")
        self._process.stdin.flush()

    def loaded(self) -> Loaded:
        """Once it has everything."""
        told = json.loads(self._line())
        return Loaded(told["bytes"], told["seconds"], told["digest"])

    def kill(self) -> None:
        """As a spot notice that came too late."""
        self._process.kill()

    def _line(self) -> str:
        """Past what it logs."""
        assert self._process.stdout is not None
        while line := self._process.stdout.readline().decode():
            if line.startswith(("ready", '{"bytes"')):
                return line.strip()
        return ""


def load_together(members: Sequence[SwarmMember]) -> list[Loaded]:
    for member in members:
        member.begin()
    return [member.loaded() for member in members]


def copies_read(loaded: Sequence[Loaded], package_bytes: int) -> float:
    """From the store, by all of them together."""
    return sum(each.bytes_by_tier.get("store", 0) for each in loaded) / package_bytes
