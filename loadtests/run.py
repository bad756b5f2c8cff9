"""`make load`: Locust without its web page against a running Tamer, for a bounded time.

    python -m loadtests.run [--url URL] [--run-time 30s] [--users 4] [--report DIR] [LOCUST OPTIONS]

The address and the key are those of the `tamer` command: TAMER_URL and TAMER_API_KEY, else what
`tamer up` wrote. Options that are not named here go to Locust, among them those of
`loadtests/traffic/options.py` (`--arrivals poisson --rate 2 --slo-ttft-ms 500` ...). The report
folder holds Locust's HTML and CSV, every request as JSON lines, and `summary.md`.

Exit codes: 0 every request was answered, 1 some failed, 2 the test could not be run.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import httpx

from control_plane.cli.credentials import find_server
from infra.settings import Settings
from loadtests.statistics.log import read_records
from loadtests.statistics.record import Outcome, Slo
from loadtests.statistics.report import markdown
from loadtests.statistics.summary import Summary, summarise
from loadtests.traffic.target import ForbiddenTarget, check_target

_LOCUSTFILE = Path(__file__).with_name("locustfile.py")
_ASK_LIMIT_S = 10.0
_START_AND_STOP_S = 90.0
_SECONDS = {"s": 1, "m": 60, "h": 3600}


class CannotRun(RuntimeError):
    """The load test cannot be run; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What `make load` was asked for."""

    url: str
    key: str
    model: str
    users: int
    run_time_s: int
    report: Path
    arrivals: str
    slo: Slo
    allow_remote: bool
    passed_on: tuple[str, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        ask = _ready(_read(sys.argv[1:] if arguments is None else arguments))
        ended = _run_locust(ask)
        summary = _report(ask)
    except (CannotRun, ForbiddenTarget) as error:
        sys.stderr.write(f"load test: {error}\n")
        return 2
    sys.stdout.write(f"\nreport: {ask.report / 'summary.md'} (and locust.html beside it)\n")
    answered = summary.outcomes[Outcome.COMPLETED] > 0
    return 0 if ended == 0 and answered else 1


def _read(arguments: Sequence[str]) -> Ask:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--url", default="", help="a running Tamer (default: as for `tamer`)")
    parser.add_argument("--api-key", default="", help="better given as TAMER_API_KEY")
    parser.add_argument("--model", default=os.environ.get("TAMER_MODEL", ""), help="a deployment")
    parser.add_argument("--users", type=int, default=4, help="of a closed loop")
    parser.add_argument("--run-time", type=_duration_s, default=30, help="e.g. 30s, 5m")
    parser.add_argument("--report", type=Path, default=None, help="folder to write")
    parser.add_argument("--arrivals", default="closed", help="closed, constant, poisson ...")
    parser.add_argument("--slo-ttft-ms", type=float, default=0.0)
    parser.add_argument("--slo-tpot-ms", type=float, default=0.0)
    parser.add_argument("--allow-remote", action="store_true")
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


def _ready(ask: Ask) -> Ask:
    """The same, with a model, when a Tamer answers that takes our key.

    Raises:
        CannotRun: none does.
        ForbiddenTarget: it is not on this machine.
    """
    check_target(ask.url, allow_remote=ask.allow_remote)
    headers = {"authorization": f"Bearer {ask.key}"} if ask.key else {}
    try:
        reply = httpx.get(
            f"{ask.url}/v1/models",
            headers=headers,
            timeout=_ASK_LIMIT_S,
            trust_env=ask.allow_remote,  # no proxy leads back to this machine
        )
    except httpx.HTTPError as error:
        raise CannotRun(
            f"nothing answers at {ask.url} ({type(error).__name__}): start it with 'make up' in "
            "another terminal, or name its address with --url"
        ) from error
    if reply.status_code in (401, 403):
        problem = "refuses the key" if ask.key else "wants a key, and none is known here"
        raise CannotRun(f"{ask.url} {problem}: set TAMER_API_KEY to one that it takes")
    names = _model_names(ask.url, reply)
    if not names:
        raise CannotRun(f"{ask.url} serves no model: deploy one first ('tamer deploy -f FILE')")
    model = ask.model or names[0]
    if model not in names:
        raise CannotRun(f"{ask.url} does not serve {model!r}; it serves {', '.join(names)}")
    return replace(ask, model=model)


def _model_names(url: str, reply: httpx.Response) -> list[str]:
    try:
        return [str(each["id"]) for each in reply.json()["data"]]
    except (ValueError, KeyError, TypeError) as error:
        raise CannotRun(f"{url} is no OpenAI-compatible server ({reply.status_code})") from error


def _run_locust(ask: Ask) -> int:
    try:
        ask.report.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotRun(f"cannot write the report: {error}; name a folder with --report") from error
    command = [sys.executable, "-m", "locust", "-f", str(_LOCUSTFILE), "--headless"]
    command += ["--only-summary", "--host", ask.url, "--model", ask.model]
    command += ["--users", str(ask.users), "--spawn-rate", str(ask.users)]
    command += ["--run-time", f"{ask.run_time_s}s", "--arrivals", ask.arrivals]
    command += ["--slo-ttft-ms", f"{ask.slo.ttft_ms:g}", "--slo-tpot-ms", f"{ask.slo.tpot_ms:g}"]
    command += ["--csv", str(ask.report / "locust"), "--html", str(ask.report / "locust.html")]
    command += ["--records", str(ask.report / "requests.jsonl")]
    command += [*(["--allow-remote"] if ask.allow_remote else []), *ask.passed_on]
    environment = {**os.environ, "TAMER_API_KEY": ask.key}
    process = subprocess.Popen(command, env=environment)
    try:
        return process.wait(ask.run_time_s + _START_AND_STOP_S)
    except KeyboardInterrupt:
        return process.wait(_START_AND_STOP_S)  # Locust has seen it as well and writes its report
    except subprocess.TimeoutExpired as error:
        raise CannotRun("locust did not end in time and was stopped") from error
    finally:
        process.kill()


def _report(ask: Ask) -> Summary:
    records = ask.report / "requests.jsonl"
    if not records.exists():
        raise CannotRun("locust ended before it sent anything; it says why above")
    summary = summarise(read_records(records), ask.slo)
    settings = {
        "target": ask.url,
        "model": ask.model,
        "loop": _loop(ask),
        "time": f"at most {ask.run_time_s} s",
        "more": " ".join(ask.passed_on) or "–",
    }
    text = markdown(summary, "Load test", settings, _notes(ask))
    (ask.report / "summary.md").write_text(text)
    sys.stdout.write(f"\n{text}")
    return summary


def _loop(ask: Ask) -> str:
    if ask.arrivals == "closed":
        return f"closed, {ask.users} users"
    return f"open, {ask.arrivals} arrivals"


def _notes(ask: Ask) -> list[str]:
    notes = [
        "The client ran on the same machine as the server: they took processor time from each "
        "other."
    ]
    if ask.arrivals == "closed":
        notes.append(
            "Closed loop: users wait for their answers, so a slower server was asked less often. "
            "For latencies at a given rate use an open loop (--arrivals poisson --rate N)."
        )
    notes.append(
        "Unfinished requests were cut off by the end of the test; of all figures only the "
        "attainment counts them, and only if they had missed the TTFT limit by then."
    )
    return notes


if __name__ == "__main__":
    raise SystemExit(main())
