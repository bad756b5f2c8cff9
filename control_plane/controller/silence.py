"""How long each agent has said nothing new, on this process's own clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from infra.wire import Heartbeat

_LONGEST_STEP_S = 2.0
"""Counted at most between two looks: while we could not look (Redis away, a long pass), nobody
could be heard, and that is not the agents' silence."""


class Silences:
    def __init__(self) -> None:
        self._last_look_s: float | None = None
        self._heard: dict[str, tuple[int, float]] = {}
        """Instance -> (newest sequence, seconds of silence since)."""

    def listen(
        self, instance_ids: Iterable[str], heartbeats: Mapping[str, Heartbeat], now_s: float
    ) -> dict[str, float]:
        """Seconds of silence of each instance; one that is new to us starts at 0.

        Args:
            now_s: monotonic.
        """
        step_s = 0.0 if self._last_look_s is None else now_s - self._last_look_s
        step_s = min(step_s, _LONGEST_STEP_S)
        self._last_look_s = now_s
        heard: dict[str, tuple[int, float]] = {}
        for instance_id in instance_ids:
            sequence, silent_s = self._heard.get(instance_id, (-1, -step_s))
            heartbeat = heartbeats.get(instance_id)
            if heartbeat is not None and heartbeat.sequence != sequence:
                heard[instance_id] = (heartbeat.sequence, 0.0)
            else:
                heard[instance_id] = (sequence, silent_s + step_s)
        self._heard = heard
        return {instance_id: silent_s for instance_id, (_, silent_s) in heard.items()}
