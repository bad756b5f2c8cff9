"""`docs/operations.md` tells every metric that a process can show, and no other."""

from __future__ import annotations

from pathlib import Path

import control_plane.controller.metrics
import control_plane.gateway.metrics
import control_plane.http.metrics
import control_plane.tasks.metrics
import infra.metrics.port
import worker.agent.metrics
from infra.metrics.snapshot import SnapshotGauge

DOCUMENT = Path(__file__).parents[1] / "docs" / "operations.md"
MODULES = {
    control_plane.gateway.metrics: "gateway",
    control_plane.http.metrics: "gateway, API",
    control_plane.controller.metrics: "controller",
    control_plane.tasks.metrics: "Celery worker",
    worker.agent.metrics: "agent",
    infra.metrics.port: "each",
}


def table() -> str:
    """The table as it must be."""
    lines = ["| metric | type | labels | process | meaning |", "|---|---|---|---|---|"]
    for module, process in MODULES.items():
        for metric in vars(module).values():
            if not hasattr(metric, "collect") or isinstance(metric, type):
                continue
            labels = metric._labels if isinstance(metric, SnapshotGauge) else metric._labelnames
            [family] = metric.collect()
            name = family.name + ("_total" if family.type == "counter" else "")
            shown = ", ".join(f"`{label}`" for label in labels)
            lines.append(
                f"| `{name}` | {family.type} | {shown} | {process} | {family.documentation} |"
            )
    return "\n".join(lines)


def test_the_table_of_metrics_is_what_the_code_says() -> None:
    wanted = table()
    assert wanted.count("\n") > 20
    assert wanted in DOCUMENT.read_text(), f"docs/operations.md must hold:\n\n{wanted}\n"


def test_no_label_can_grow_with_traffic() -> None:
    allowed = {"deployment", "revision", "outcome", "state", "cause", "kind", "noun", "process"}
    allowed |= {"method", "route", "status", "phase"}
    for line in table().splitlines()[2:]:
        labels = {each.strip("` ") for each in line.split("|")[3].split(",")} - {""}
        assert labels <= allowed, line
