"""The arms of one measurement, and why others are not among them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from loadtests.benchmarks.arms.arm import Arm, ArmFailed, ArmSpec

T = TypeVar("T")


class LineUp:
    """Arms by name. One that fails is closed, keeps its reason, and the others go on."""

    def __init__(self, logs: Path, reasons: Mapping[str, str] | None = None) -> None:
        self._logs = logs
        self._arms: dict[str, Arm] = {}
        self.reasons: dict[str, str] = dict(reasons or {})
        """Why an arm was not measured, or not to the end."""
        self.facts: dict[str, dict[str, Any]] = {}
        """What each arm said that it is."""

    @property
    def names(self) -> list[str]:
        """Arms that run, in the order they were loaded."""
        return list(self._arms)

    def load(self, name: str, spec: ArmSpec) -> None:
        """Start an arm; without success it has a reason."""
        try:
            arm = Arm(spec, self._logs / f"{name}.log")
        except ArmFailed as error:
            self.reasons[name] = str(error)
            return
        self._arms[name] = arm
        trial = spec.settings.get("trial")
        self.facts[name] = {**arm.facts, **({"trial_tokens_per_s": trial} if trial else {})}

    def use(self, name: str, action: Callable[[Arm], T]) -> T | None:
        """What the action returns; None for an arm that is not there or fails on it."""
        arm = self._arms.get(name)
        if arm is None:
            return None
        try:
            return action(arm)
        except ArmFailed as error:
            self.reasons[name] = str(error)
            self.close(name)
            return None

    def reasons_of(self, names: Iterable[str]) -> str:
        """What is told of those that were not measured."""
        return "; ".join(f"{name}: {self.reasons[name]}" for name in names if name in self.reasons)

    def close(self, name: str) -> None:
        """End an arm that is not needed any more; one that is not there is no error."""
        arm = self._arms.pop(name, None)
        if arm is not None:
            arm.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for name in self.names:
            self.close(name)
