from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from control_plane.store.tables import Operation


class OperationShown(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    id: str
    kind: str
    subject_id: str
    state: Literal["pending", "running", "succeeded", "failed"]
    error: str
    progress: dict[str, Any]
    attempts: int
    deadline_at: float
    created_at: float
    updated_at: float


def show_operation(operation: Operation) -> OperationShown:
    return OperationShown.model_validate(operation)
