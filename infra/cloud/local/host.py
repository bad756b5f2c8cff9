"""The instances of one machine: launched once for each id, remembered a while after their end."""

from __future__ import annotations

import asyncio
import errno
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from infra.child import Child
from infra.cloud.base import CloudError, CloudInstance, LaunchRequest
from infra.cloud.local.instance import LocalInstance
from infra.limited_log import LimitedLog, keep_newest
from infra.private_folder import make_private

_REMEMBER_S = 3600.0
_KEEP_LOGS = 100
_SANE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_PASSING = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC})
"""Errors of a machine that is full now and may not be so later."""


class Host:
    """Not safe for threads: it belongs to one event loop, on the main thread."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        logs_dir: Path,
        stop_limit_s: float,
    ) -> None:
        self._command = list(command)
        self._environment = dict(environment)
        self._logs_dir = logs_dir
        self._stop_limit_s = stop_limit_s
        self._instances: dict[str, LocalInstance] = {}
        self._stops: set[asyncio.Task[None]] = set()

    def launch(self, request: LaunchRequest) -> CloudInstance:
        """Start an instance, unless its id was launched before: then say how that one is.

        Raises:
            CloudError: the request is malformed, or the program cannot be started.
        """
        if not _SANE_ID.fullmatch(request.instance_id):
            raise CloudError(
                f"instance id {request.instance_id!r}: use letters, digits, '.', '_' and '-'",
                retryable=False,
            )
        self._forget_old()
        known = self._instances.get(request.instance_id)
        if known is None:
            try:
                known = self._start(request)
            except (OSError, ValueError) as error:
                retryable = isinstance(error, OSError) and error.errno in _PASSING
                raise CloudError(
                    f"cannot start {self._command[0]}: {error}", retryable=retryable
                ) from error
            self._instances[request.instance_id] = known
        return known.describe()

    def _start(self, request: LaunchRequest) -> LocalInstance:
        make_private(self._logs_dir)
        keep_newest(self._logs_dir, _KEEP_LOGS)
        log = LimitedLog(self._logs_dir / f"{request.instance_id}.log")
        environment = {**self._environment, **request.user_data}
        return LocalInstance(request.instance_id, Child(self._command, environment, log))

    def describe(self) -> list[CloudInstance]:
        self._forget_old()
        return [instance.describe() for instance in self._instances.values()]

    def terminate(self, instance_id: str) -> None:
        """Begin to stop an instance; ids that are unknown or have ended are fine."""
        instance = self._instances.get(instance_id)
        if instance is not None:
            self._stop(instance, self._stop_limit_s)

    def _stop(self, instance: LocalInstance, limit_s: float) -> None:
        task = asyncio.create_task(instance.child.stop(limit_s))
        self._stops.add(task)
        task.add_done_callback(self._stops.discard)

    async def close(self, limit_s: float) -> None:
        """Stop every instance, all at once; SIGKILL after `limit_s`."""
        await asyncio.gather(*(each.child.stop(limit_s) for each in self._instances.values()))
        await asyncio.gather(*self._stops)

    def _forget_old(self) -> None:
        for instance in list(self._instances.values()):
            if instance.seen_ended_for_s() > _REMEMBER_S:
                del self._instances[instance.instance_id]
