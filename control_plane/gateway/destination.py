"""Where a request goes: a deployment, one of its revisions, and the model's text side."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import msgspec

from control_plane.gateway.access import CallerIdentity
from control_plane.gateway.errors import model_not_found, over_budget, unavailable
from control_plane.gateway.services import Services
from control_plane.gateway.text_models import TextModel, TextUnavailable
from infra.connection import REDIS_AWAY
from infra.telemetry import logger
from infra.wire import Malformed, Route, Target

_log = logger(__name__)
_RETRY_UNAVAILABLE_S = 5.0
_RETRY_AWAY_S = 2.0


@dataclass(frozen=True, slots=True)
class Destination:
    route: Route
    """As the chosen revision's model has it."""
    revision_id: str
    text: TextModel


async def choose(
    services: Services, caller: CallerIdentity, model: str, request_id: str
) -> Destination:
    """Raises ApiError: 404 for an unknown model, 503 where nothing can serve it now, 429 where a
    budget is spent."""
    route = services.known.route(model)
    if route is None:
        raise model_not_found(model)
    if route.unavailable:
        raise unavailable(
            f"The deployment '{model}' cannot serve now: {route.unavailable}.",
            "deployment_unavailable",
            _RETRY_UNAVAILABLE_S,
        )
    for said, wait_s in (
        (caller.over_budget, caller.over_budget_s),
        (route.over_budget, route.over_budget_s),
    ):
        if said:
            raise over_budget(f"The request was refused: {said}.", wait_s)
    target = pick_target(route, request_id)
    if target is None:
        raise unavailable(
            f"The deployment '{model}' has no revision to serve.",
            "deployment_unavailable",
            _RETRY_UNAVAILABLE_S,
        )
    route = _of(target, route)
    try:
        text = await services.texts.get(route.text_digest)
    except (*REDIS_AWAY, TextUnavailable, Malformed) as error:
        _log.warning("text side of a model is missing", model=model, error=str(error))
        raise unavailable(
            f"The tokenizer of '{model}' is not there yet; try again.", "not_ready", _RETRY_AWAY_S
        ) from error
    return Destination(route, target.revision_id, text)


def pick_target(route: Route, request_id: str) -> Target | None:
    """One of the targets by weight: the same request always goes to the same one, and a share that
    grows only adds to what went there before."""
    total = sum(target.weight for target in route.targets)
    if total <= 0:
        return None
    digest = hashlib.sha256(f"{route.deployment_id}:{request_id}".encode()).digest()
    point = int.from_bytes(digest[:8], "big") % total
    for target in route.targets:
        point -= target.weight
        if point < 0:
            return target
    raise AssertionError("a point below the sum of the weights falls into one of them")


def _of(target: Target, route: Route) -> Route:
    """A route speaks for one model, and its targets may have several."""
    if not target.text_digest:
        return route
    return msgspec.structs.replace(
        route,
        text_digest=target.text_digest,
        max_context_tokens=target.max_context_tokens,
        vocabulary_size=target.vocabulary_size,
    )
