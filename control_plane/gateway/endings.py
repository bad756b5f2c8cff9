"""What a client is told when a job did not complete."""

from __future__ import annotations

from control_plane.gateway.errors import ApiError, over_budget, unavailable
from control_plane.gateway.sequence import Ending
from infra.states import JobState
from infra.wire import Route

_RETRY_EXPIRED_S = 10.0
_RETRY_S = 1.0
_RETRY_GONE_S = 60.0
_FOR_GOOD = ("deployment_deleted", "deployment_failed", "model_gone")
_SPENT = "budget_spent"

_SAID = {
    "queue_limit": "the request waited too long for a replica",
    "max_attempts": "every attempt to run it was cut off",
    "job_lost": "the queue no longer has it",
    "queue_lost": "the job queue lost its data",
    "consumer_lost": "the gateway was silent for too long",
    "deployment_deleted": "its deployment was deleted",
    "deployment_failed": "its deployment has failed ('tamer explain' says why)",
    _SPENT: "the budget of its deployment is spent ('tamer cost' says on what)",
    "gateway_stopped": "the gateway is being stopped",
    "model_gone": "its model is no longer served",
}


def ending_error(ending: Ending, route: Route | None = None) -> ApiError:
    """The error for an ending other than `completed`.

    Args:
        route: of its deployment as it is now; where a budget is spent, it knows until when.
    """
    said = _SAID.get(ending.reason, ending.reason) or "no reason was given"
    if ending.outcome is JobState.CANCELLED:
        return ApiError(409, "The request was cancelled.", code="request_cancelled")
    if ending.outcome is JobState.EXPIRED:
        return unavailable(f"Sorry, {said}; try again.", "queue_timeout", _RETRY_EXPIRED_S)
    if ending.reason == _SPENT:
        # As whoever asks now is refused.
        told = (route.over_budget, route.over_budget_s) if route and route.over_budget else None
        said, wait_s = told or (said, _RETRY_GONE_S)
        return over_budget(f"The request was not completed: {said}.", wait_s)
    if ending.reason in _FOR_GOOD:
        # As a deployment that has failed answers at once; only its owner can help.
        return unavailable(f"The request was not completed: {said}.", ending.reason, _RETRY_GONE_S)
    if ending.retry_helps:
        code = ending.reason if ending.reason in _SAID else "job_ended"
        return unavailable(f"The request was not completed: {said}; try again.", code, _RETRY_S)
    # OpenAI's clients would send it again on their own, which cannot help.
    return ApiError(
        500,
        f"The model could not run this request: {said}",
        code="inference_failed",
        headers={"x-should-retry": "false"},
    )
