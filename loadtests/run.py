"""`make load`: Locust without its web page against a running Tamer, for a bounded time.

The address and the key are those of the `tamer` command: TAMER_URL and TAMER_API_KEY, else what
`tamer up` wrote. All other options go to Locust. The report folder holds Locust's HTML and CSV,
every request as JSON lines, and `summary.md`.

Exit codes: 0 every request was answered, 1 some failed, 2 the test could not be run.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

import httpx

from loadtests.ask import Ask, read_ask
from loadtests.locust_run import RECORDS, CannotRun, run_locust
from loadtests.statistics.log import read_records
from loadtests.statistics.record import Outcome
from loadtests.statistics.report import markdown
from loadtests.statistics.summary import Summary, summarise
from loadtests.traffic.choice import Choice, choose
from loadtests.traffic.target import ForbiddenTarget, check_target

_ASK_LIMIT_S = 10.0


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        ask = read_ask(sys.argv[1:] if arguments is None else arguments, __doc__)
        choice = _choose(ask)
        sys.stdout.write(f"load test of {choice.said}\n")
        sys.stdout.flush()
        ask = replace(ask, model=choice.model)
        ended = run_locust(ask)
        summary = _report(ask, choice)
    except (CannotRun, ForbiddenTarget) as error:
        sys.stderr.write(f"load test: {error}\n")
        return 2
    sys.stdout.write(f"\nreport: {ask.report / 'summary.md'} (and locust.html beside it)\n")
    answered = summary.outcomes[Outcome.COMPLETED] > 0
    return 0 if ended == 0 and answered else 1


def _choose(ask: Ask) -> Choice:
    """The deployment to talk to, when a Tamer answers that takes our key.

    Raises:
        CannotRun: none does, or it does not serve the wanted deployment.
        ForbiddenTarget: it is not on this machine.
    """
    check_target(ask.url, allow_remote=ask.allow_remote)
    reply = _get(ask, "/v1/models")
    if reply.status_code in (401, 403):
        problem = "refuses the key" if ask.key else "wants a key, and none is known here"
        raise CannotRun(f"{ask.url} {problem}: set TAMER_API_KEY to one that it takes")
    names = _model_names(ask.url, reply)
    if not names:
        raise CannotRun(f"{ask.url} serves no model: deploy one first ('tamer deploy -f FILE')")
    if ask.model and ask.model not in names:
        raise CannotRun(f"{ask.url} does not serve {ask.model!r}; it serves {', '.join(names)}")
    return choose(names, ask.model, _ready_replicas(_get(ask, "/api/v1/status")))


def _get(ask: Ask, path: str) -> httpx.Response:
    try:
        return httpx.get(
            f"{ask.url}{path}",
            headers={"authorization": f"Bearer {ask.key}"} if ask.key else {},
            timeout=_ASK_LIMIT_S,
            trust_env=ask.allow_remote,  # no proxy leads back to this machine
        )
    except httpx.HTTPError as error:
        raise CannotRun(
            f"nothing answers at {ask.url}: start it with 'make up' in another terminal, or name "
            "its address with --url"
        ) from error


def _ready_replicas(reply: httpx.Response) -> dict[str, int] | None:
    """Ready replicas by deployment; None where the server does not tell."""
    if not reply.is_success:
        return None
    try:
        return {
            str(each["name"]): int(each["replicas"].get("ready", 0))
            for each in reply.json()["deployments"]
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return None  # some other server


def _model_names(url: str, reply: httpx.Response) -> list[str]:
    try:
        return [str(each["id"]) for each in reply.json()["data"]]
    except (ValueError, KeyError, TypeError) as error:
        raise CannotRun(f"{url} is no OpenAI-compatible server ({reply.status_code})") from error


def _report(ask: Ask, choice: Choice) -> Summary:
    records = ask.report / RECORDS
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
    text = markdown(summary, "Load test", settings, _notes(ask, choice))
    (ask.report / "summary.md").write_text(text)
    sys.stdout.write(f"\n{text}")
    return summary


def _loop(ask: Ask) -> str:
    if ask.arrivals == "closed":
        return f"closed, {ask.users} users"
    return f"open, {ask.arrivals} arrivals"


def _notes(ask: Ask, choice: Choice) -> list[str]:
    notes = [f"The deployment, {choice.said}."]
    notes += [
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
