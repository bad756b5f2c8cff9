"""Where a controller's messages lie until the test's hands carry them out."""

from __future__ import annotations


class Mailbox:
    """`control_plane.tasks.messages.Messages`, without a broker."""

    def __init__(self) -> None:
        self.operation_ids: list[str] = []

    async def send(self, operation_id: str) -> None:
        self.operation_ids.append(operation_id)

    def close(self) -> None:
        return None
