"""The cloud of machines that join: there is nobody to launch one, and nobody's bill to stop.

A machine is an instance because it joined, and ends by leaving or by falling silent; who it is, the
store knows (`control_plane/store/repositories/machines.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from infra.cloud.base import CloudError, CloudInstance, LaunchRequest


class JoinedCloud:
    """An `infra.cloud.base.Cloud` for TAMER_CLOUD=joined."""

    async def launch(self, request: LaunchRequest) -> CloudInstance:  # noqa: ARG002
        raise CloudError(
            "no cloud launches machines here: type 'tamer worker token', then what it prints on a "
            "machine of yours",
            retryable=False,
        )

    async def describe(self) -> Sequence[CloudInstance]:
        """None: whatever joined is known by its heartbeat."""
        return []

    async def terminate(self, instance_id: str) -> None:
        """Nothing: what is not ours to stop costs us nothing."""

    async def close(self) -> None:
        """Nothing is open."""
