"""Bodies that say exactly what they mean: no unknown fields, no coercion, no NaN."""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

PLAIN_TEXT_PATTERN = r"^[^\x00-\x1f\x7f]+$"


class StrictBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _knows_every_field(cls, value: Any) -> Any:
        """Name the nearest known field where pydantic would only say that one is not permitted."""
        if not isinstance(value, dict):
            return value
        for field in value:
            if field not in cls.model_fields:
                hint = nearest(str(field), list(cls.model_fields))
                raise PydanticCustomError(
                    "unknown_field", "unknown field; {hint}", {"unknown": str(field), "hint": hint}
                )
        return value


def nearest(name: str, known: list[str], all_said: str = "") -> str:
    """A hint: the known name that looks most like this one, or all of them (as `all_said`)."""
    written = {each.casefold(): each for each in known}
    found = [written[name.casefold()]] if name.casefold() in written else []
    found = found or difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean '{found[0]}'?" if found else f"known here: {all_said or ', '.join(known)}"
