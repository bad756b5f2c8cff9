"""What `make load` is asked for on its command line."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from control_plane.cli.credentials import find_server
from infra.settings import Settings
from loadtests.statistics.record import Slo
from loadtests.traffic.options import options_help
from loadtests.traffic.schedule import Arrivals

_SECONDS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class Ask:
    """What `make load` was asked for."""

    url: str
    key: str
    model: str
    """A deployment; "" for any."""
    users: int
    run_time_s: int
    report: Path
    arrivals: str
    slo: Slo
    allow_remote: bool
    passed_on: tuple[str, ...]


def read_ask(arguments: Sequence[str], description: str) -> Ask:
    """Raises SystemExit, as argparse does, for wrong usage and for --help."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.run",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    named: list[str] = []

    def add(flag: str, **options: Any) -> None:
        named.append(flag)
        parser.add_argument(flag, **options)

    add("--url", default="", help="a running Tamer (default: as for `tamer`)")
    add("--api-key", default="", help="better given as TAMER_API_KEY (default: as for `tamer`)")
    add(
        "--model",
        default=os.environ.get("TAMER_MODEL", ""),
        help="a deployment (default: TAMER_MODEL, else one that is ready)",
    )
    add("--users", type=int, default=4, help="of a closed loop (default: %(default)s)")
    add(
        "--run-time",
        type=_duration_s,
        default="30s",
        metavar="TIME",
        help="e.g. 30s, 5m, 1h (default: %(default)s)",
    )
    add("--report", type=Path, metavar="DIR", help="to write (default: build/load/DATE-TIME)")
    add(
        "--arrivals",
        choices=[each.value for each in Arrivals],
        default=Arrivals.CLOSED.value,
        help="closed: users wait for answers; else an open loop (default: %(default)s)",
    )
    slo_help = "limit for goodput; 0: none (default: %(default)s)"
    add("--slo-ttft-ms", type=float, default=0.0, metavar="MS", help=slo_help)
    add("--slo-tpot-ms", type=float, default=0.0, metavar="MS", help=slo_help)
    add("--allow-remote", action="store_true", help="the target may be another machine")
    parser.epilog = options_help([*named, "--records"])  # the report reads those
    options, passed_on = parser.parse_known_args(arguments)
    server = find_server(Settings(url=options.url) if options.url else Settings())
    return Ask(
        url=server.url,
        key=options.api_key or server.key,
        model=options.model,
        users=max(1, options.users),
        run_time_s=options.run_time,
        report=options.report or Path("build/load") / f"{datetime.now():%Y%m%d-%H%M%S}",
        arrivals=options.arrivals,
        slo=Slo(options.slo_ttft_ms, options.slo_tpot_ms),
        allow_remote=options.allow_remote,
        passed_on=tuple(passed_on),
    )


def _duration_s(text: str) -> int:
    parts = re.fullmatch(r"(\d+)([smh]?)", text)
    if not parts or not int(parts[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 30s, 5m or 1h")
    return int(parts[1]) * _SECONDS[parts[2] or "s"]
