"""From what a spec says to the revision that runs."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.api.deployments.spec import DeploymentSpec, EngineSpec
from control_plane.api.problem import Problem, invalid_field
from control_plane.api.strict import nearest
from control_plane.store.repositories import models, revisions
from control_plane.store.tables import Model, Revision

_DEFAULT_CONTEXT_TOKENS = 4096


async def wanted_revision(
    session: AsyncSession, deployment_id: str, spec: DeploymentSpec, now: float
) -> Revision:
    """Find or make the revision that a spec asks for.

    Raises:
        Problem: 422 for an unknown model, or a context or precision it does not have, 409 for a
            model that is not ready.
    """
    model = await models.keep(session, spec.model)
    if model is None:
        raise invalid_field("model", await _unknown(session, spec.model))
    if model.state != models.READY:
        detail = f"model '{model.name}' is still importing; wait until it is ready and try again"
        raise Problem(409, "model-not-ready", detail)
    options = engine_options(spec.engine, model)
    return await revisions.find_or_add(
        session, deployment_id, model, spec.engine.kind, options, now
    )


async def _unknown(session: AsyncSession, name: str) -> str:
    known = await models.ready_names(session)
    if "/" in name or ":" in name:
        hint = "a deployment names a registered model"
    else:
        hint = nearest(name, known) if known else "none is registered yet"
    return f"there is no model '{name}'; {hint}; 'tamer models import SOURCE' registers one"


def engine_options(engine: EngineSpec, model: Model) -> dict[str, Any]:
    """What the engine is told.

    Raises:
        Problem: 422 for a context or precision that the model does not have.
    """
    return {
        "dtype": engine.dtype,
        "quantization": _quantization(engine, model),
        "exact": engine.exact,
        "max_context_tokens": _context_tokens(engine, model),
        **engine.options,
    }


def _quantization(engine: EngineSpec, model: Model) -> str:
    if engine.quantization == "none" and model.quantization == "int8":
        message = (
            f"the package of model '{model.name}' holds int8 weights, and what was rounded does "
            "not come back; leave it out, or deploy a model that was imported without it"
        )
        raise invalid_field("engine.quantization", message)
    return engine.quantization


def _context_tokens(engine: EngineSpec, model: Model) -> int:
    own_limit = model.max_context_tokens or _DEFAULT_CONTEXT_TOKENS
    wanted = engine.max_context_tokens
    if wanted is None:
        return min(own_limit, _DEFAULT_CONTEXT_TOKENS)
    if wanted > own_limit:
        message = f"model '{model.name}' reads {own_limit} tokens at most, not {wanted}"
        raise invalid_field("engine.max_context_tokens", message)
    return wanted
