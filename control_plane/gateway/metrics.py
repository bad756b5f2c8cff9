"""What the gateway counts: once a request or an attempt, never a token.

The names are vLLM's where it has them; times start when the request's headers were read.
"""

from __future__ import annotations

from dataclasses import dataclass

from control_plane.gateway.outcomes import OUTCOMES, Times
from infra.metrics.registry import counter, gauge, histogram

_WHERE = ("deployment", "revision")
_LATENCY_S = (
    *(0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0),
)
_TOKEN_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5)
_REQUEST_S = (0.1, 0.3, 0.5, 1.0, 1.5, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 240.0, 960.0)

TIME_TO_FIRST_TOKEN = histogram(
    "time_to_first_token_seconds",
    "From a request's arrival to its first token, waiting for a replica included.",
    _LATENCY_S,
    _WHERE,
)
TIME_PER_OUTPUT_TOKEN = histogram(
    "time_per_output_token_seconds",
    "Mean time between the tokens of a request after its first; one observation a request.",
    _TOKEN_S,
    _WHERE,
)
REQUEST_LATENCY = histogram(
    "e2e_request_latency_seconds", "From a request's arrival to its end.", _REQUEST_S, _WHERE
)
REQUESTS = counter(
    "requests",
    "Accepted requests that ended, by outcome: completed, failed, cancelled or expired.",
    (*_WHERE, "outcome"),
)
PROMPT_TOKENS = counter("prompt_tokens", "Prompt tokens of requests that ended.", _WHERE)
GENERATION_TOKENS = counter(
    "generation_tokens", "Output tokens that were delivered to clients.", _WHERE
)
ATTEMPTS_LOST = counter(
    "attempts_lost",
    "Attempts that ended before their job: orphaned (lease ran out or was ended), given_back "
    "(by the replica) or gap (tokens were lost on the way).",
    ("revision", "cause"),
)
REOFFERS = counter("reoffers", "Jobs that were offered again after a lost attempt.", ("revision",))
OPEN_JOBS = gauge("open_jobs", "Jobs of this gateway that the queue has not settled yet.")
DURABLE_REQUESTS = gauge(
    "open_durable_requests", "Durable requests that this gateway writes the logs of."
)
DURABLE_ADOPTED = counter(
    "durable_requests_adopted", "Durable requests taken over from a gateway that was silent.", ()
)
PROJECTION_AGE = gauge(
    "projection_age_seconds", "Time since the controller was last heard; +Inf before the first."
)

_BY_DEPLOYMENT = (
    TIME_TO_FIRST_TOKEN,
    TIME_PER_OUTPUT_TOKEN,
    REQUEST_LATENCY,
    REQUESTS,
    PROMPT_TOKENS,
    GENERATION_TOKENS,
)


@dataclass(frozen=True, slots=True)
class RequestEnd:
    """What is counted of one accepted request; times are since its arrival."""

    deployment: str
    revision: str
    outcome: str
    prompt_tokens: int
    output_tokens: int
    """Of all choices."""
    longest_tokens: int
    """Of the longest choice."""
    latency_s: float
    first_token_s: float | None
    """None where no token came."""

    @property
    def per_token_s(self) -> float | None:
        """Mean time between tokens after the first; None where there were fewer than two."""
        if self.first_token_s is None or self.longest_tokens < 2:
            return None
        return (self.latency_s - self.first_token_s) / (self.longest_tokens - 1)


def observe(end: RequestEnd) -> None:
    where = (end.deployment, end.revision)
    REQUESTS.labels(*where, end.outcome).inc()
    REQUEST_LATENCY.labels(*where).observe(end.latency_s)
    PROMPT_TOKENS.labels(*where).inc(end.prompt_tokens)
    GENERATION_TOKENS.labels(*where).inc(end.output_tokens)
    OUTCOMES.add(*where, end.outcome, Times(end.first_token_s, end.per_token_s))
    if end.first_token_s is not None:
        TIME_TO_FIRST_TOKEN.labels(*where).observe(end.first_token_s)
    if end.per_token_s is not None:
        TIME_PER_OUTPUT_TOKEN.labels(*where).observe(end.per_token_s)


def forget(deployment: str) -> None:
    """Drop the series of a deployment that is gone."""
    for metric in _BY_DEPLOYMENT:
        metric.remove_by_labels({"deployment": deployment})
