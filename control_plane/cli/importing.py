"""Follow the import of a model, or another operation: bars on a terminal, plain lines otherwise."""

from __future__ import annotations

import asyncio
from types import TracebackType

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from control_plane.cli.api_client import ApiClient, Json
from control_plane.cli.exits import CommandError
from control_plane.cli.screen import Screen

_LOOK_EVERY_S = 0.2


async def import_model(
    client: ApiClient, screen: Screen, name: str, source: str, packing: Json | None = None
) -> Json:
    """Import a model and return it when it is ready; at once where it already is.

    Raises:
        CommandError: the import was refused, or failed.
    """
    begun = await client.post("/models", {"name": name, "source": source, **(packing or {})})
    return await made(client, screen, name, begun)


async def made(client: ApiClient, screen: Screen, name: str, begun: Json) -> Json:
    """The model that an import or a pack has begun to make, when it is ready.

    Raises:
        CommandError: it failed.
    """
    operation = begun.get("operation")
    if operation is not None:
        await follow(client, screen, f"model {name}", str(operation["id"]))
    model = await client.get(f"/models/{name}")
    if model["state"] != "ready":
        raise CommandError(f"model {name} is {model['state']}: {model['error'] or 'no reason'}")
    return model


async def follow(client: ApiClient, screen: Screen, what: str, operation_id: str) -> Json:
    """The operation, when it has ended well.

    Raises:
        CommandError: it failed.
    """
    with OperationProgress(screen, what) as progress:
        while True:
            operation = await client.get(f"/operations/{operation_id}")
            progress.show(operation.get("progress") or {})
            if operation["state"] == "succeeded":
                return operation
            if operation["state"] == "failed":
                raise CommandError(f"{what} failed: {operation['error']}")
            await asyncio.sleep(_LOOK_EVERY_S)


class OperationProgress:
    """A context that shows the phases of one operation."""

    def __init__(self, screen: Screen, what: str) -> None:
        self._screen = screen
        self._what = what
        self._phase = ""
        self._task: TaskID | None = None
        self._bars: Progress | None = None

    def __enter__(self) -> OperationProgress:
        if self._screen.err.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
            self._bars = Progress(*columns, TimeElapsedColumn(), console=self._screen.err)
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            if kind is None and self._task is not None:
                self._finish_phase(self._bars, self._task)
            self._bars.stop()

    def show(self, progress: Json) -> None:
        """`progress` as in the API's *Operation*; empty until the work has begun."""
        phase = str(progress.get("phase") or "waiting to begin")
        done = int(progress.get("done_bytes") or 0)
        total = int(progress.get("total_bytes") or 0) or None
        if self._bars is None:
            if phase != self._phase:
                self._screen.note(f"{self._what}: {phase}")
        else:
            if phase != self._phase or self._task is None:
                if self._task is not None:
                    self._finish_phase(self._bars, self._task)
                self._task = self._bars.add_task(f"{self._what}: {phase}", total=None)
            self._bars.update(self._task, completed=done, total=total)
        self._phase = phase

    @staticmethod
    def _finish_phase(bars: Progress, task: TaskID) -> None:
        """A phase that had no size leaves no row behind."""
        total = next(row.total for row in bars.tasks if row.id == task)
        if total is None:
            bars.remove_task(task)
        else:
            bars.update(task, completed=total)
