"""What a reconciler is."""

from __future__ import annotations

from typing import Protocol

from control_plane.controller.world import World


class Reconciler(Protocol):
    name: str

    async def run(self, world: World | None, /) -> int:
        """Bring what is one step nearer to what should be; returns how many rows it changed.

        Running it again changes nothing unless the world did. `world` is None while agents cannot
        be heard: then nothing may follow from their silence.
        """
