"""Engine options are any JSON, as long as every process on their way can carry it."""

from __future__ import annotations

import json
import math
from typing import Any

from pydantic_core import PydanticCustomError

from infra.engine_options import EngineOptions, OptionRefused, read_options

_OWN_FIELDS = ("dtype", "max_context_tokens", "exact", "quantization", "tensor_parallel")
_MAX_CHARACTERS = 16_384
_MAX_DEPTH = 8
_INTEGER_LIMIT = 1 << 63


def check_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options.

    Raises:
        PydanticCustomError: an option that has a field of its own, or a value that cannot travel
            (NaN, more than 64 bits, half a character), or too much of it.
    """
    for name in options:
        if name in _OWN_FIELDS:
            raise PydanticCustomError(
                "own_field", "say '{name}' as engine.{name}, not inside options", {"name": name}
            )
    _check(options, _MAX_DEPTH)
    if len(json.dumps(options)) > _MAX_CHARACTERS:
        raise PydanticCustomError("too_long", "too long: say it in at most 16 KiB")
    return options


def check_torch_options(options: dict[str, Any]) -> None:
    """Raises PydanticCustomError: names, types and ranges that the torch engine would refuse."""
    try:
        read_options(options, EngineOptions)
    except OptionRefused as error:
        message = "{reason}"
        raise PydanticCustomError("engine_option", message, {"reason": str(error)}) from error


def _check(value: Any, depth: int) -> None:
    if depth < 0:
        raise PydanticCustomError("too_deep", "nested too deeply: at most 8 levels")
    match value:
        case str():
            _check_text(value)
        case bool() | None:
            pass
        case int() if abs(value) >= _INTEGER_LIMIT:
            raise PydanticCustomError("too_large", "integers must fit into 64 bits")
        case float() if not math.isfinite(value):
            raise PydanticCustomError("finite", "numbers must be finite")
        case list():
            for each in value:
                _check(each, depth - 1)
        case dict():
            for name, each in value.items():
                _check_text(name)
                _check(each, depth - 1)


def _check_text(text: str) -> None:
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise PydanticCustomError("text", "text must be Unicode without NUL")
