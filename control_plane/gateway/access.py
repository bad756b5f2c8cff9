"""Who may infer: the route dependency that turns a bearer key into a caller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from control_plane.gateway.errors import ApiError
from control_plane.gateway.known import Known
from infra.keys import KeyScope, hash_secret

_SCOPES = frozenset({KeyScope.INFERENCE, KeyScope.ADMIN})
_bearer = HTTPBearer(auto_error=False, description="An API key: `Authorization: Bearer KEY`")
_Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


@dataclass(frozen=True, slots=True)
class CallerIdentity:
    key_id: str
    tenant: str
    over_budget: str = ""
    """As `wire.KeyEntry` says it."""
    over_budget_s: float = 0.0


async def authenticate(request: Request, credentials: _Credentials) -> CallerIdentity:
    """Raises ApiError: 503 where the projection is too old, 401 or 403 for the key.

    Async though it waits for nothing: FastAPI sends other dependencies to a thread and back.
    """
    return _identify(request, credentials, _SCOPES, "inference")


async def authenticate_admin(request: Request, credentials: _Credentials) -> CallerIdentity:
    """As `authenticate`, for what is not a tenant's to see."""
    return _identify(request, credentials, frozenset({KeyScope.ADMIN}), "admin")


def _identify(
    request: Request,
    credentials: HTTPAuthorizationCredentials | None,
    scopes: frozenset[KeyScope],
    wanted: str,
) -> CallerIdentity:
    known: Known = request.app.state.gateway.known
    known.check_fresh()
    if credentials is None or not credentials.credentials.strip():
        raise _unauthorized(
            "You didn't provide an API key; send it as 'Authorization: Bearer KEY'."
        )
    entry = known.key(hash_secret(credentials.credentials.strip()))
    if entry is None:
        raise _unauthorized("Incorrect API key provided; it is unknown or was revoked.")
    if scopes.isdisjoint(entry.scopes):
        raise ApiError(
            403,
            f"This API key lacks the scope '{wanted}'.",
            kind="permission_error",
            code="insufficient_permissions",
        )
    return CallerIdentity(entry.key_id, entry.tenant, entry.over_budget, entry.over_budget_s)


def _unauthorized(message: str) -> ApiError:
    return ApiError(401, message, code="invalid_api_key", headers={"www-authenticate": "Bearer"})


Caller = Annotated[CallerIdentity, Depends(authenticate)]
