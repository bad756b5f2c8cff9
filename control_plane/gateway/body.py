"""A request body to a checked request; whatever is wrong with it becomes a 400 that names it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from control_plane.gateway.errors import ApiError, bad_request, unsupported
from control_plane.gateway.wording import said_of

R = TypeVar("R", bound=BaseModel)

NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "audio": (),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "modalities": (["text"],),
    "moderation": (),
    "prediction": (),
    "reasoning_effort": (),
    "suffix": ("",),
    "verbosity": ("medium",),
    "web_search_options": (),
}
"""OpenAI's parameters that would change the answer and that we do not have, with the values that
mean "without"."""

_CALLED_ELSEWHERE = {
    "bad_words": "logit_bias",
    "enable_thinking": "chat_template_kwargs.enable_thinking",
    "grammar": "structured_outputs.grammar",
    "guided_choice": "structured_outputs.choice",
    "guided_grammar": "structured_outputs.grammar",
    "guided_json": "structured_outputs.json",
    "guided_regex": "structured_outputs.regex",
    "json_schema": "structured_outputs.json",
    "max_length": "max_tokens",
    "max_new_tokens": "max_tokens",
    "n_predict": "max_tokens",
    "temp": "temperature",
}
"""What llama.cpp, transformers and earlier releases of vLLM call what we have."""

MESSAGE_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "annotations": ([],),
    "audio": (),
    "function_call": (),
    "refusal": (),
}
"""What clients send back in an assistant's message that we gave them."""

_ALIKE = 0.8
_BEGINNING = 4
_QUOTED = re.compile(r"'([a-z_]+)'")


def parse(body: bytes, kind: type[R]) -> R:
    """Raises ApiError 400 with the parameter that is wrong."""
    try:
        fields = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise bad_request(f"We could not parse the JSON body of your request: {error}") from error
    if not isinstance(fields, dict):
        raise bad_request("The JSON body of your request must be an object.")
    fields = _without_neutral(fields, NEUTRAL, kind, "")
    messages = fields.get("messages")
    if isinstance(messages, list):
        fields["messages"] = [
            _without_neutral(each, MESSAGE_NEUTRAL, None, f"messages[{index}].")
            if isinstance(each, dict)
            else each
            for index, each in enumerate(messages)
        ]
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise _refusal(error) from None


def parsed(kind: type[R]) -> Callable[[Request], Awaitable[R]]:
    """A route dependency that reads the body as `kind`."""

    async def read(request: Request) -> R:
        return parse(await request.body(), kind)

    return read


def _without_neutral(
    fields: dict[str, Any],
    neutral: Mapping[str, tuple[Any, ...]],
    kind: type[BaseModel] | None,
    prefix: str,
) -> dict[str, Any]:
    """Drop what means nothing (null is the same as leaving out); refuse what we do not have."""
    kept: dict[str, Any] = {}
    for name, value in fields.items():
        if value is None:
            if kind is not None and name not in kind.model_fields and name not in neutral:
                raise _unknown(name, kind)
        elif name in neutral and (kind is None or name not in kind.model_fields):
            if value not in neutral[name]:
                raise unsupported(prefix + name)
        elif kind is not None and name not in kind.model_fields:
            raise _unknown(name, kind)
        else:
            kept[name] = value
    return kept


def _unknown(name: str, kind: type[BaseModel]) -> ApiError:
    meant = _CALLED_ELSEWHERE.get(name, "")
    if meant.partition(".")[0] not in kind.model_fields:
        meant = _nearest(name, kind.model_fields)
    return _unrecognized(name, meant)


def _nearest(name: str, known: Iterable[str]) -> str:
    """What differs by a letter or two, or is the beginning of a longer name; else nothing: a guess
    that is far off is worse than none."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=_ALIKE)
    if near:
        return near[0]
    begun = [each for each in known if each.startswith(name) and len(name) >= _BEGINNING]
    return begun[0] if len(begun) == 1 else ""


def _unrecognized(name: str, meant: str) -> ApiError:
    hint = f" Did you mean '{meant}'?" if meant else ""
    return bad_request(
        f"Unrecognized request argument supplied: {name[:100]}.{hint}",
        param=name[:100],
        code="unknown_parameter",
    )


def _refusal(error: ValidationError) -> ApiError:
    first = error.errors(include_url=False, include_input=False)[0]
    message = said_of(first)
    param = _path(first["loc"])
    if param is None:
        named = _QUOTED.search(message)
        return bad_request(f"Invalid request: {message}.", param=named[1] if named else None)
    if first["type"] == "missing":
        return bad_request(f"Missing required parameter: '{param}'.", param, "missing_parameter")
    if first["type"] == "extra_forbidden":
        return _unrecognized(param, "")
    return bad_request(f"Invalid value for '{param}': {message}.", param, "invalid_value")


def _path(location: tuple[int | str, ...]) -> str | None:
    """`("messages", 0, "content")` -> `messages[0].content`."""
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path or None
