"""`python -m loadtests.benchmarks.control_plane [--quick] [--prices FILE] [--json FILE]`: what the
control plane does in time.

The controller is the one that is deployed, in a process of its own, on a PostgreSQL that waits for
its disk and a Valkey that keeps its file; agents are generators of heartbeats, whose ceiling is
measured before; the cloud is a set of ids in Redis, and what Celery would do is done by this
process. There are no peers.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from control_plane.controller.garbage import collect_less_often
from loadtests.benchmarks.control_plane import placement, problems
from loadtests.benchmarks.control_plane.cell import Cell, TooSlow, open_cell
from loadtests.benchmarks.control_plane.fleet import Size
from loadtests.benchmarks.control_plane.heartbeats import Beaten
from loadtests.benchmarks.control_plane.reconcile import Watched, percentile, watch
from loadtests.benchmarks.control_plane.takeover import DoneTwice, TakenOver, take_over
from loadtests.benchmarks.postgres_cluster import NoPostgres
from loadtests.benchmarks.report import Report, Row, row

_PASS_GOAL_S = 1.0
_LAUNCH_GOAL_S = 2.0
_TAKEOVER_GOAL_S = 10.0
_PLACEMENT_GOAL_S = 1.0
_GAP_GOAL = 0.01
_GREEDY_GOAL = 0.05
_SEEDS = 20
_COMMITS = 100


@dataclass(frozen=True, slots=True)
class Plan:
    """Of one run."""

    size: Size
    heartbeats_per_s: float
    rises_per_s: float
    rounds: int
    round_s: float
    takeovers: int
    step: int
    """Deployments that need one replica more when a controller is killed."""
    ceiling_s: float = 3.0


FULL = Plan(
    Size(200, 5000, 1250, 20_000), 5000.0, 2.0, rounds=3, round_s=45.0, takeovers=3, step=40
)
QUICK = Plan(Size(20, 200, 50, 400), 200.0, 2.0, rounds=1, round_s=10.0, takeovers=1, step=8)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    report = Report("control_plane", options.quick)
    try:
        if "fleet" in options.parts:
            asyncio.run(_fleet(report, QUICK if options.quick else FULL))
        if "placement" in options.parts:
            _placement(report, options)
    except (NoPostgres, TooSlow, DoneTwice, TimeoutError, OSError) as error:
        print(f"benchmark: {error or type(error).__name__}", file=sys.stderr)
        return 1
    print(report.table())
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_bytes(report.json())
    return 0


async def _fleet(report: Report, plan: Plan) -> None:
    size = plan.size
    _note(f"a fleet of {size.replicas} replicas on {size.instances} instances is settled")
    async with open_cell(size) as cell:
        ceiling = await asyncio.to_thread(cell.beats(0.0, plan.ceiling_s).result)
        commits_s = await cell.commits_s(_COMMITS)
        watched = []
        for number in range(plan.rounds):
            _note(f"passes: round {number + 1} of {plan.rounds}")
            watched.append(await watch(cell, plan.heartbeats_per_s, plan.rises_per_s, plan.round_s))
        taken = []
        for number in range(plan.takeovers):
            _note(f"takeover: round {number + 1} of {plan.takeovers}")
            taken.append(await take_over(cell, plan.heartbeats_per_s, plan.step))
        report.notes.append(_setting(cell, plan))
    report.rows += _pass_rows(plan, watched, ceiling, commits_s)
    report.rows.append(_takeover_row(plan, taken))


def _pass_rows(
    plan: Plan, watched: Sequence[Watched], ceiling: Beaten, commits_s: Sequence[float]
) -> list[Row]:
    name = f"reconcile.{plan.size.replicas}_replicas"
    passes = sum(len(each.passes) for each in watched)
    launches = [each.launches_s for each in watched if each.launches_s]
    rises = sum(each.rises for each in watched)
    late = max(each.latest_s for each in watched)
    return [
        row(
            f"{name}.p99_s",
            [each.p99_s for each in watched],
            "s",
            goal=_PASS_GOAL_S,
            less_is_better=True,
            remark=f"{passes} passes, {rises} rises of demand",
        ),
        row(f"{name}.p50_s", [each.p50_s for each in watched], "s"),
        row(
            f"{name}.cpu_s",
            [each.cpu_s for each in watched],
            "s",
            remark="p50 of a pass, of the controller's process: what it takes without waiting",
        ),
        row(
            "decision_to_launch_s",
            [percentile(each, 99) for each in launches],
            "s",
            goal=_LAUNCH_GOAL_S,
            less_is_better=True,
            remark=f"p99 of {sum(map(len, launches))} launches: decision row -> message sent",
        ),
        row(
            "heartbeats_per_s",
            [each.heartbeats_per_s for each in watched],
            "1/s",
            goal=plan.heartbeats_per_s * 0.99,
            remark=f"the latest {late:.2f} s late; of {plan.size.instances} agents",
        ),
        row(
            "heartbeats.ceiling_per_s",
            [ceiling.per_s],
            "1/s",
            remark="of the generator alone, before all others",
        ),
        row("store.commit_s", commits_s, "s", remark="ceiling: one row written by one client"),
    ]


def _takeover_row(plan: Plan, taken: Sequence[TakenOver]) -> Row:
    shared = ", ".join(f"{each.by_killed} + {each.by_other}" for each in taken)
    return row(
        "takeover_s",
        [each.elapsed_s for each in taken],
        "s",
        goal=_TAKEOVER_GOAL_S,
        less_is_better=True,
        remark=f"{plan.step} deployments; messages of the killed one + the other: {shared}",
    )


def _placement(report: Report, options: argparse.Namespace) -> None:
    rows = (
        problems.made_up_catalogue()
        if options.prices is None
        else problems.read_catalogue(options.prices)
    )
    deployments, seeds = (10, 3) if options.quick else (50, _SEEDS)
    _note(f"placement: {deployments} deployments over {len(rows)} rows, {seeds} problems")
    collect_less_often()  # as the controller does, in which plans are made
    placed = placement.measure(rows, deployments, seeds)
    used = sum(each.solver == "greedy" for each in placed)
    name = f"placement.{deployments}x{len(rows)}"
    report.rows += [
        row(
            f"{name}.s",
            [percentile([each.elapsed_s for each in placed], 95)],
            "s",
            goal=_PLACEMENT_GOAL_S,
            less_is_better=True,
            remark=f"p95 of {seeds} problems, the longest {max(e.elapsed_s for e in placed):.2f} s",
        ),
        row(
            f"{name}.gap",
            [each.gap for each in placed],
            "",
            goal=_GAP_GOAL,
            less_is_better=True,
            remark=f"above the solver's bound; greedy was used for {used} of {seeds}",
        ),
        row(
            f"{name}.greedy_gap",
            [each.greedy_gap for each in placed],
            "",
            goal=_GREEDY_GOAL,
            less_is_better=True,
            remark="of the greedy plan, used or not",
        ),
        row(f"{name}.greedy_s", [each.greedy_s for each in placed], "s"),
    ]
    if options.prices is None:
        report.notes.append("prices are made up: give a catalogue with --prices")


def _setting(cell: Cell, plan: Plan) -> str:
    size = plan.size
    return (
        f"{size.deployments} deployments, {size.replicas} replicas, {size.instances} instances, "
        f"{size.ended} ended of each before them; {cell.database.engine.dialect.name} with its own "
        "defaults (fsync on), Valkey with its file, all on this machine"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.benchmarks.control_plane",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="a small fleet, short rounds")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    parser.add_argument(
        "--prices", type=Path, default=None, metavar="FILE", help="a catalogue with zones (CSV)"
    )
    parser.add_argument(
        "--parts", nargs="+", choices=("fleet", "placement"), default=("fleet", "placement")
    )
    return parser


def _note(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
