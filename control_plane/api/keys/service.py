from __future__ import annotations

from datetime import UTC, datetime

from control_plane.api.keys.schemas import KeyWanted
from control_plane.api.problem import Problem, not_found
from control_plane.api.transaction import Change
from control_plane.store.clock import read_clock
from control_plane.store.repositories import audit, keys
from control_plane.store.session import Database
from control_plane.store.tables import ApiKey
from infra.keys import KeyScope, hash_secret, new_secret

_PREFIX = "tamer"
_FIRST = "first"


async def create(change: Change, wanted: KeyWanted) -> tuple[ApiKey, str]:
    """A key and its secret, which nobody can learn again."""
    secret = new_secret(_PREFIX)
    key = await keys.add(
        change.session,
        wanted.name,
        hash_secret(secret),
        wanted.tenant,
        list(wanted.scopes),
        await read_clock(change.session),
    )
    await change.record("key.create", key.id, name=key.name, scopes=key.scopes, tenant=key.tenant)
    change.tell_gateways()
    return key, secret


async def revoke(change: Change, key_id: str) -> ApiKey:
    """End a key; a revoked one stays as it is.

    Raises:
        Problem: 404, or 409 for the last key that can make others.
    """
    valid = await keys.lock_valid(change.session)
    key = await change.session.get(ApiKey, key_id)
    if key is None:
        raise not_found("key", key_id, "tamer keys list")
    if key.revoked_at is not None:
        return key
    admins = [each.id for each in valid if KeyScope.ADMIN in each.scopes]
    if admins == [key_id]:
        detail = "this is the last admin key; make another one before you revoke it"
        raise Problem(409, "last-admin-key", detail)
    key.revoked_at = await read_clock(change.session)
    await change.record("key.revoke", key.id, name=key.name)
    change.tell_gateways()
    return key


async def ensure_first_key(database: Database, secret: str) -> None:
    """Make the admin key that the settings name, unless it is there (or was, and is revoked)."""
    if not secret:
        return
    async with database.transaction() as session:
        scopes = [KeyScope.ADMIN.value, KeyScope.INFERENCE.value]
        now = await read_clock(session)
        name = _FIRST if await keys.is_first(session) else _later_name(now)
        key_id = await keys.add_once(session, name, hash_secret(secret), "default", scopes, now)
        if key_id is not None:
            detail = {"name": name, "by": "settings"}
            await audit.record(session, key_id, "key.create", key_id, detail)


def _later_name(now: float) -> str:
    """Of an admin key that the settings name when others were there before it."""
    return f"TAMER_ADMIN_KEY {datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M} UTC"
