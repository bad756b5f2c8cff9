"""Admin keys beside the one in TAMER_ADMIN_KEY."""

from __future__ import annotations

from control_plane.cli.api_client import ApiClient
from control_plane.cli.screen import Screen


async def note_older_admin_keys(client: ApiClient, screen: Screen) -> None:
    """Say that a given key adds to the older ones: who sets another may mean to replace them.

    Raises:
        CommandError: the server does not list its keys.
    """
    valid = [
        key["name"]
        for key in await client.list("/keys")
        if "admin" in key["scopes"] and not key["revoked_at"]
    ]
    if len(valid) > 1:
        screen.note(
            f"TAMER_ADMIN_KEY replaces no key: {len(valid)} admin keys are valid "
            f"({', '.join(valid)}); 'tamer keys list' shows them, 'tamer keys revoke' ends one"
        )
