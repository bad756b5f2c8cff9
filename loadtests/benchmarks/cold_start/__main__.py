"""`python -m loadtests.benchmarks.cold_start [--quick] [--evict] [--json FILE]`: from a request at
zero replicas to its first token, SmolLM2 on one machine.

Ours, by what the deployment keeps at zero (`keep_warm`): nothing, an instance with a standby, a
replica that sleeps; each by phase, as the ledger of `tamer explain --cold-starts` says it. The
peers are started when the request is there, and read the same weights. Rounds are interleaved. The
gateway and the controller run all the time, as they do in a deployment; of a peer nothing does.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import torch

from control_plane.importer.errors import ImportRefused
from infra.starts import Phase
from loadtests.benchmarks.arms.environment import NotInstalled
from loadtests.benchmarks.cold_start.first_token import NoToken
from loadtests.benchmarks.cold_start.ours import COLD, SLEEP, STANDBY, Deployed, Start, weights
from loadtests.benchmarks.cold_start.peers import SERVERS, Server
from loadtests.benchmarks.engine import weights as peers_weights
from loadtests.benchmarks.home import Home, NotRunning
from loadtests.benchmarks.loader.page_cache import StillCached, evict, resident, warm
from loadtests.benchmarks.report import Report, not_measured, row

ROUNDS = 5
QUICK_ROUNDS = 1
STANDBY_GOAL_S = 1.0
COLD_GOAL_S = 6.0
VLLM_GOAL = 0.2
"""Five times faster: the ratio is our time to theirs."""
_KINDS = {COLD: "cold", STANDBY: "standby", SLEEP: "sleep"}
_MIB = 1 << 20


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    options.peers = _peers(options, parser)
    report = Report("cold_start", options.quick)
    try:
        measure(report, options)
    except (NotRunning, NoToken, ImportRefused, StillCached) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    print(report.table())
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_bytes(report.json())
    return 0


def measure(report: Report, options: argparse.Namespace) -> None:
    cache = options.cache.resolve()
    (cache / "logs").mkdir(parents=True, exist_ok=True)
    servers, reasons = _servers(options.peers, cache)
    theirs: dict[str, list[float]] = defaultdict(list)
    ours: dict[str, list[Start]] = defaultdict(list)
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    with Home() as home:
        files = weights(home)
        for number in range(rounds):
            # One deployment at a time: what one keeps would be in another's way.
            for keep_warm, name in _KINDS.items():
                _note(f"round {number + 1} of {rounds}: {name}")
                deployed = Deployed(home, keep_warm)
                ours[name].append(deployed.start(lambda: _prepare(files, options.evict)))
                deployed.delete()
            for name, server in list(servers.items()):
                _note(f"round {number + 1} of {rounds}: {name}")
                _prepare(server.files, options.evict)
                try:
                    theirs[name].append(server.start(cache / "logs" / f"{name}.log"))
                except NoToken as error:
                    reasons[name] = str(error)
                    del servers[name]
        report.notes.append(_cache_state(files, options.evict))
    _show(report, ours, theirs, reasons)


def _show(
    report: Report,
    ours: dict[str, list[Start]],
    theirs: dict[str, list[float]],
    reasons: dict[str, str],
) -> None:
    goals = {"cold": COLD_GOAL_S, "standby": STANDBY_GOAL_S, "sleep": None}
    for name, found in ours.items():
        times = [each.first_token_s for each in found]
        goal = goals[name]
        kept = median(each.kept_bytes for each in found) / _MIB
        remark = f"{kept:.0f} MiB wait at zero" if kept else ""
        report.rows.append(
            row(f"{name}.first_token_s", times, "s", goal=goal, less_is_better=True, remark=remark)
        )
        for phase in Phase:
            parts = [each.phases_s.get(phase.value, 0.0) for each in found]
            report.rows.append(row(f"{name}.phase.{phase.value}_s", parts, "s"))
    cold = [each.first_token_s for each in ours["cold"]]
    for name in SERVERS:
        goal = VLLM_GOAL if name == "vllm_cpu" else None
        if name in theirs and name not in reasons:
            report.rows.append(
                row(f"cold.vs_{name}", cold, "s", theirs[name], goal, less_is_better=True)
            )
        else:
            reason = reasons.get(name, "not among the peers of this run")
            report.rows.append(not_measured(f"cold.vs_{name}", reason, goal))


def _servers(names: Sequence[str], cache: Path) -> tuple[dict[str, Server], dict[str, str]]:
    """Those that can be started here, and why others cannot."""
    servers: dict[str, Server] = {}
    reasons: dict[str, str] = {}
    if names:
        model = peers_weights.hugging_face(cache)
        for name in names:
            try:
                servers[name] = SERVERS[name](cache, model)
            except NotInstalled as error:
                reasons[name] = str(error)
    return servers, reasons


def _prepare(files: Sequence[Path], cold: bool) -> None:
    """The weights are in the page cache, or out of it, before every start."""
    for file in files:
        evict(file) if cold else warm(file)


def _cache_state(files: Sequence[Path], evicted: bool) -> str:
    state = "put out of the page cache (mincore)" if evicted else "read into the page cache"
    # The largest file of site-packages that a start reads.
    library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    packages = f" ({library.name}: {resident(library):.0%} resident)" if library.exists() else ""
    return (
        f"before each start the weights ({len(files)} file) were {state}; packages had been used "
        f"before{packages}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.benchmarks.cold_start",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="one round; peers only if named")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument(
        "--evict", action="store_true", help="put the weights out of the page cache before a start"
    )
    parser.add_argument("--peers", default=None, metavar="NAME,...", help=", ".join(SERVERS))
    parser.add_argument("--cache", type=Path, default=peers_weights.cache_folder(), metavar="DIR")
    return parser


def _peers(options: argparse.Namespace, parser: argparse.ArgumentParser) -> tuple[str, ...]:
    """All of them, unless the run is quick or some are named."""
    if options.peers is None:
        return () if options.quick else tuple(SERVERS)
    named = tuple(filter(None, options.peers.split(",")))
    if unknown := set(named) - SERVERS.keys():
        parser.error(f"--peers: unknown: {', '.join(sorted(unknown))}")
    return named


def _note(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
