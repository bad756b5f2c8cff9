"""The processes below one of ours: what they are, on which core they run, what they have used."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_USER_FIELD = 11
_SYSTEM_FIELD = 12
_PARENT_FIELD = 1
"""Fields of /proc/PID/stat, counted from the one after the name."""

ENGINE = "engine"
GATEWAY = "gateway"
TOKENIZER = "tokenizer"
OTHER = "other"

_ROLES = (
    ("worker.engine.process", ENGINE),
    ("control_plane.gateway.tokenizer_process", TOKENIZER),
    ("control_plane.serve", GATEWAY),
    ("control_plane.gateway", GATEWAY),
    ("worker.agent", "agent"),
    ("valkey-server", "valkey"),
    ("control_plane.controller", "controller"),
    ("control_plane.tasks", "tasks"),
)


class TooFewCores(RuntimeError):
    """The message says what is needed."""


@dataclass(frozen=True, slots=True)
class Cores:
    """One core for the engine, one for everything else."""

    engine: int
    rest: int

    @classmethod
    def of_this_machine(cls) -> Cores:
        """The first two that we may use.

        Raises:
            TooFewCores: there is only one.
        """
        ours = sorted(os.sched_getaffinity(0))
        if len(ours) < 2:
            raise TooFewCores(
                "this benchmark needs two cores: one for the engine, one for the rest"
            )
        return cls(*ours[:2])


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    role: str


def role_of(command: str) -> str:
    """What a process of ours does, by its command line."""
    for part, role in _ROLES:
        if part in command:
            return role
    return OTHER


def below(root_pid: int) -> list[Process]:
    """All descendants of a process, itself included."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            fields = _stat(int(folder.name))
            if fields:
                children.setdefault(int(fields[_PARENT_FIELD]), []).append(int(folder.name))
    found, waiting = [], [root_pid]
    while waiting:
        pid = waiting.pop()
        waiting += children.get(pid, [])
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
            found.append(Process(pid, role_of(command.decode(errors="replace"))))
    return found


def pin(pid: int, core: int) -> None:
    """Every thread of a process; those it starts later inherit it."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):  # a thread that has just ended
            os.sched_setaffinity(int(thread.name), {core})


def cpu_s(processes: list[Process]) -> dict[str, float]:
    """Seconds of processor time that each role has used since its processes started."""
    used: dict[str, float] = {}
    for process in processes:
        fields = _stat(process.pid)
        if fields:
            ticks = int(fields[_USER_FIELD]) + int(fields[_SYSTEM_FIELD])
            used[process.role] = used.get(process.role, 0.0) + ticks / _TICKS_PER_S
    return used


def _stat(pid: int) -> list[str]:
    """Empty for a process that is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    return text.rpartition(")")[2].split()
