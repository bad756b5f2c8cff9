"""What is wrong with a field, in the words of JSON instead of pydantic's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import ErrorDetails

_SAID: Mapping[str, str] = {
    "bool_type": "must be true or false",
    "dict_type": "must be an object",
    "finite_number": "must be a finite number",
    "float_type": "must be a number",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "int_from_float": "must be an integer",
    "int_type": "must be an integer",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "list_type": "must be a list",
    "literal_error": "must be {expected}",
    "model_type": "must be an object",
    "string_pattern_mismatch": "must match the pattern {pattern}",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} characters",
    "string_type": "must be a string",
    "too_long": "must have at most {max_length} entries",
    "too_short": "must have at least {min_length} entries",
}
"""By pydantic's type of error, with what its context names."""
_NUMBERS = {"1 characters": "1 character", "1 entries": "1 entry"}


def said_of(error: ErrorDetails) -> str:
    """E.g. "must be at most 2"; what has no words here is in pydantic's, or our own validator's."""
    words = _SAID.get(error["type"])
    if words is None:
        return error["msg"].removeprefix("Value error, ")
    context: Mapping[str, Any] = error.get("ctx", {})
    said = words.format_map({name: _number(value) for name, value in context.items()})
    for many, one in _NUMBERS.items():
        if said.endswith(f" {many}"):
            return said.removesuffix(many) + one
    return said


def _number(value: Any) -> Any:
    """Bounds that are whole are written so."""
    return f"{value:g}" if isinstance(value, float) else value
