"""What all parts of a request have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class RequestPart(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)
