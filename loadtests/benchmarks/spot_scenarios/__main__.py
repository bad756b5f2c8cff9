"""`python -m loadtests.benchmarks.spot_scenarios [--quick] [--only NAME ...] [--json FILE]`: what
befalls a deployment on spot machines, played on the EC2 stand-in.

Machines are processes of this machine, booted from the real user data; they run paced engines, so
that four replicas on two cores are four times one. A row is the time in which the system came back
into the right state; one that is not measured says how it was instead.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from loadtests.benchmarks.home import NotRunning
from loadtests.benchmarks.interruption import interrupted
from loadtests.benchmarks.report import Report, not_measured, row
from loadtests.benchmarks.spot_scenarios.scenarios import SCENARIOS
from loadtests.benchmarks.spot_scenarios.stage import NotReached, Stage

_OUTAGE_S = 30.0
_QUICK_OUTAGE_S = 6.0


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    report = Report("spot_scenarios", options.quick)
    try:
        outage_s = _QUICK_OUTAGE_S if options.quick else _OUTAGE_S
        failed = play(report, options.only or list(SCENARIOS), outage_s)
    except NotRunning as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        failed = interrupted(report)
    print(report.table())
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_bytes(report.json())
    return failed


def play(report: Report, names: Sequence[str], outage_s: float) -> int:
    """0 where every scenario came to its end."""
    failed = 0
    with Stage() as stage:
        report.notes.append("'tamer up' greeted with a real model on a machine of the stand-in")
        for name in names:
            print(f"{name} ...", file=sys.stderr, flush=True)
            try:
                took_s = SCENARIOS[name](stage, outage_s)
            except NotReached as error:
                failed = 1
                report.rows.append(not_measured(f"spot.{name}.s", str(error)))
            else:
                report.rows.append(row(f"spot.{name}.s", [took_s], "s", less_is_better=True))
            stage.clear()
    return failed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="outages of 6 s instead of 30")
    parser.add_argument("--only", nargs="+", choices=sorted(SCENARIOS), metavar="NAME")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser


if __name__ == "__main__":
    sys.exit(main())
