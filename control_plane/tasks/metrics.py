"""What a Celery worker measures: operations, once each attempt."""

from __future__ import annotations

from infra.metrics.registry import histogram

_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)

OPERATION_DURATION = histogram(
    "operation_duration_seconds",
    "Attempts at operations by outcome: succeeded, failed, given_back (to be tried again) or "
    "taken_over.",
    _SECONDS,
    ("kind", "outcome"),
)
