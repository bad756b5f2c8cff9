"""Where a machine that joins finds queue and token streams, or what to set so that it can."""

from __future__ import annotations

from dataclasses import dataclass

from control_plane.api.problem import Problem
from infra.address import is_loopback
from infra.embedded_door import agent_url
from infra.redis_url import parse_redis_url
from infra.settings import Settings


@dataclass(frozen=True, slots=True)
class Addresses:
    """URLs of Redis as an agent elsewhere opens them."""

    jobs_url: str
    tokens_url: str


def addresses(settings: Settings, host: str | None) -> Addresses:
    """As seen from a machine that reached the API under the name `host` (None: not known yet).

    Raises:
        Problem: 409; the detail says what to set where one of them can be reached from this
            machine only.
    """
    jobs = settings.agent_jobs_url or _reachable(settings, settings.jobs_url, host, "JOBS")
    tokens = settings.agent_tokens_url or (
        _reachable(settings, settings.tokens_url, host, "TOKENS") if settings.tokens_url else jobs
    )
    return Addresses(jobs, tokens)


def _reachable(settings: Settings, url: str, host: str | None, role: str) -> str:
    """`url`, or the embedded server's where that is empty."""
    if not url:
        return _embedded(settings, host)
    hosts = parse_redis_url(url).hosts
    if not hosts or any(_only_here(lies_at, host) for lies_at, _ in hosts):
        raise _unreachable(
            f"TAMER_{role}_URL leads nowhere from another machine: set TAMER_AGENT_{role}_URL to "
            "the URL under which machines that join reach that Redis"
        )
    return url


def _embedded(settings: Settings, host: str | None) -> str:
    if not (settings.embedded_port and settings.embedded_password):
        raise _unreachable(
            "the queue is on a Unix socket that no other machine can reach: "
            "set TAMER_EMBEDDED_PORT to a free port and TAMER_EMBEDDED_HOST to an address that "
            "the machine can reach, and start 'tamer up' again"
        )
    if _only_here(settings.embedded_host, host):
        raise _unreachable(
            f"the queue listens on {settings.embedded_host} only: set TAMER_EMBEDDED_HOST to an "
            "address that the machine can reach, and start 'tamer up' again"
        )
    return agent_url(settings, host or settings.embedded_host)


def _only_here(lies_at: str, host: str | None) -> bool:
    """On our loopback interface, for somebody who came in another way."""
    return host is not None and is_loopback(lies_at) and not is_loopback(host)


def _unreachable(detail: str) -> Problem:
    return Problem(409, "no-address", detail)
