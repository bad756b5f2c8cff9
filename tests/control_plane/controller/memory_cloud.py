"""A cloud in memory, for tests of what the controller concludes. It has no clock."""

from __future__ import annotations

from collections.abc import Sequence

from infra.cloud.base import CloudError, CloudInstance, CloudInstanceState, LaunchRequest


class MemoryCloud:
    """`infra.cloud.base.Cloud`; `broken` makes every call fail as if it were out of reach."""

    def __init__(self) -> None:
        self.machines: dict[str, CloudInstance] = {}
        self.requests: dict[str, LaunchRequest] = {}
        self.launches = 0
        self.broken = False
        self.refuses = ""
        self.may_pass = False
        """Whether what it refuses may succeed later."""

    def alive(self) -> list[str]:
        running = CloudInstanceState.RUNNING
        return [each.instance_id for each in self.machines.values() if each.state is running]

    def put(self, instance_id: str, state: CloudInstanceState, reason: str = "") -> None:
        self.machines[instance_id] = CloudInstance(instance_id, f"m-{instance_id}", state, reason)

    async def launch(self, request: LaunchRequest) -> CloudInstance:
        self._check()
        if self.refuses:
            raise CloudError(self.refuses, retryable=self.may_pass)
        if request.instance_id in self.requests:
            assert self.requests[request.instance_id] == request, "another launch, the same token"
        else:
            self.launches += 1
            self.requests[request.instance_id] = request
            self.put(request.instance_id, CloudInstanceState.RUNNING)
        return self.machines[request.instance_id]

    async def describe(self) -> Sequence[CloudInstance]:
        self._check()
        return list(self.machines.values())

    async def terminate(self, instance_id: str) -> None:
        self._check()
        if instance_id in self.machines:
            self.put(instance_id, CloudInstanceState.TERMINATED, "stopped on request")

    async def close(self) -> None:
        return None

    def _check(self) -> None:
        if self.broken:
            raise CloudError("the cloud is away", retryable=True)
