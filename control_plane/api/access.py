"""Who may call: a bearer key, found by its hash, with the scope that the route asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from control_plane.api.context import CurrentContext
from control_plane.api.problem import Problem
from control_plane.store.repositories import keys
from infra.keys import KeyScope, hash_secret

_bearer = HTTPBearer(auto_error=False, description="An API key: `Authorization: Bearer <secret>`")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


@dataclass(frozen=True, slots=True)
class Principal:
    key_id: str
    scopes: frozenset[str]


async def _principal(
    context: CurrentContext,
    credentials: Credentials,
) -> Principal:
    if credentials is None:
        raise unauthorised("no API key: send 'Authorization: Bearer <key>'")
    async with context.database.snapshot() as session:
        key = await keys.by_hash(session, hash_secret(credentials.credentials))
    if key is None or key.revoked_at is not None:
        raise unauthorised("unknown or revoked API key; 'tamer keys create' makes one")
    return Principal(key.id, frozenset(key.scopes))


def unauthorised(detail: str) -> Problem:
    return Problem(401, "unauthorised", detail, headers={"www-authenticate": "Bearer"})


async def require_admin(principal: Annotated[Principal, Depends(_principal)]) -> Principal:
    if KeyScope.ADMIN not in principal.scopes:
        detail = "this key lacks the scope 'admin'; use a key that has it"
        raise Problem(403, "forbidden", detail)
    return principal


Admin = Annotated[Principal, Depends(require_admin)]
