"""The API: can it be reached, does it know our key, and does anything hang behind it?"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable
from email.utils import parsedate_to_datetime

import httpx

from control_plane.cli.api_client import ApiClient, Json
from control_plane.cli.doctor.finding import Finding, Level, fail, ok, warn
from control_plane.cli.exits import CommandError, ExitCode
from infra.address import is_loopback
from infra.settings import Settings

_FAILURES = 3
"""So many replicas that failed in a row, never ready, are a crash loop."""
_LOOKED_AT = 20
_ATTEMPTS = 3
_LIMIT_S = 5.0


async def examine_server(settings: Settings) -> AsyncIterator[Finding]:
    async with ApiClient.of(settings) as client:
        try:
            status = await client.get("/status")
        except CommandError as error:
            for finding in _unanswered(client.url, error):
                yield finding
            return
        yield ok("api", client.url)
        yield ok("key", "accepted")
        now = await _server_time(client.url)
        yield _clock(now)
        try:
            yield _operations(await client.list("/operations"), now or time.time())
            for deployment in status["deployments"]:
                name = deployment["name"]
                path = f"/deployments/{name}/replicas"
                ended = await client.list(path, most=_LOOKED_AT, ended="true")
                yield _deployment(deployment, ended)
            yield _audit(await client.get("/audit"))
        except CommandError as error:
            yield fail("api", str(error))


def _unanswered(url: str, error: CommandError) -> Iterable[Finding]:
    if error.code is ExitCode.REFUSED:
        yield ok("api", url)
        yield fail("key", str(error))
    else:
        yield fail("api", str(error))


async def _server_time(url: str) -> float | None:
    """Epoch seconds of the server's clock, as its answers carry it; None where they do not."""
    host = httpx.URL(url).host
    try:
        async with httpx.AsyncClient(
            timeout=_LIMIT_S, verify=url.startswith("https"), trust_env=not is_loopback(host)
        ) as http:
            reply = await http.get(f"{url}/livez")
        return parsedate_to_datetime(reply.headers["date"]).timestamp()
    except (httpx.HTTPError, KeyError, ValueError):
        return None


def _clock(server_s: float | None) -> Finding:
    if server_s is None:
        return ok("clock", "the server does not tell its own")
    ahead_s = server_s - time.time()
    if abs(ahead_s) < 2.0:  # the server tells whole seconds
        return ok("clock", "the server's is the same as ours")
    side = "ahead of" if ahead_s > 0 else "behind"
    return ok("clock", f"the server's is {abs(ahead_s):.0f} s {side} ours; nothing depends on it")


def _operations(unfinished: list[Json], now_s: float) -> Finding:
    stuck = [
        each
        for each in unfinished
        if each["deadline_at"] < now_s
        or (each["state"] == "pending" and each["attempts"] >= _ATTEMPTS)
    ]
    if not stuck:
        return ok("operations", f"{len(unfinished)} under way, none is stuck")
    first = stuck[0]
    return warn(
        "operations",
        f"{len(stuck)} stuck, e.g. {first['kind']} {first['id']} of {first['subject_id']} "
        f"({first['state']}, {first['attempts']} attempts) {first['error']}".rstrip(),
        "read tasks.log and controller.log in the logs folder of the server's home",
    )


def _deployment(deployment: Json, ended: list[Json]) -> Finding:
    """`ended`: its newest replicas, live ones included, newest first."""
    name, state = deployment["name"], deployment["state"]
    said = f"{name} is {state}" + (f" ({deployment['reason']})" if deployment["reason"] else "")
    advice = f"type: tamer logs {name}; tamer explain {name}"
    failures = 0
    for replica in ended:
        if replica["ready_at"] is not None:
            break
        failures += replica["state"] == "failed"
    if failures >= _FAILURES:
        reason = next(each["reason"] for each in ended if each["state"] == "failed")
        loop = f"{said}; {failures} replicas failed in a row, the last: {reason or 'no reason'}"
        return fail("deployment", loop, advice)
    if failures and state not in ("failed", "degraded"):
        reason = next(each["reason"] for each in ended if each["state"] == "failed")
        said += f"; its last start failed: {reason or 'no reason'}"
        return warn("deployment", said, advice)
    if state in ("failed", "degraded"):
        return Finding(Level.FAIL if state == "failed" else Level.WARN, "deployment", said, advice)
    return ok("deployment", said)


def _audit(found: Json) -> Finding:
    total = found["total"]
    if not found["holds"]:
        return fail("audit", "the queues' counters do not add up", "type: tamer audit")
    return ok("audit", f"{total['accepted']} accepted, {total['pending']} pending, none missing")
