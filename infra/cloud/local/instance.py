"""One instance of the local cloud: an agent process, seen as a cloud sees a machine."""

from __future__ import annotations

import time

from infra.child import Child
from infra.cloud.base import CloudInstance, CloudInstanceState


class LocalInstance:
    def __init__(self, instance_id: str, child: Child) -> None:
        self.instance_id = instance_id
        self.child = child
        self._ended_at: float | None = None

    def describe(self) -> CloudInstance:
        if self.child.ended.is_set():
            state = CloudInstanceState.TERMINATED
        elif self.child.stopping:
            state = CloudInstanceState.STOPPING
        else:
            state = CloudInstanceState.RUNNING
        return CloudInstance(
            instance_id=self.instance_id,
            cloud_id=f"local-{self.child.pid}",
            state=state,
            reason=self.child.reason,
        )

    def seen_ended_for_s(self) -> float:
        """Time since its end was first noticed here; 0 while it runs."""
        if not self.child.ended.is_set():
            return 0.0
        if self._ended_at is None:
            self._ended_at = time.monotonic()
        return time.monotonic() - self._ended_at
