"""`GET /v1/openapi.json`, and what routes that read their bodies themselves say for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel

from control_plane.gateway.access import authenticate
from control_plane.gateway.answers import (
    ChatChunk,
    ChatCompletion,
    ErrorAnswer,
    TextChunk,
    TextCompletion,
)
from control_plane.gateway.body import MESSAGE_NEUTRAL, NEUTRAL
from control_plane.gateway.messages import ChatMessage
from control_plane.gateway.schemas import CompletionOptions

router = APIRouter(dependencies=[Depends(authenticate)])

_REF = "#/components/schemas/"
_NULL = {"type": "null"}
_ERROR = {"model": ErrorAnswer, "description": "An error in OpenAI's shape"}
ERRORS: dict[int | str, dict[str, Any]] = {"4XX": _ERROR, "5XX": _ERROR}


@router.get("/v1/openapi.json", include_in_schema=False)
async def openapi(request: Request) -> dict[str, Any]:
    document: dict[str, Any] = request.app.openapi()
    return document


def request_body(kind: type[BaseModel]) -> dict[str, Any]:
    """`openapi_extra` of a route that reads its body with `body.parsed(kind)`."""
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _schema(kind)}},
        }
    }


def _answers(whole: type[BaseModel], chunk: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    said = [_schema(chunk), _schema(ErrorAnswer)]
    data = {
        "anyOf": [
            {"const": "[DONE]"},
            {"contentMediaType": "application/json", "contentSchema": {"anyOf": said}},
        ]
    }
    event = {"type": "object", "required": ["data"], "properties": {"data": data}}
    return {
        200: {
            "model": whole,
            "description": "Whole, or with `stream` as server-sent events of chunks",
            "content": {"text/event-stream": {"schema": event}},
        },
        202: {"model": whole, "description": "A durable request that has not ended yet"},
    }


def _schema(kind: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a model, whole in itself."""
    schema = kind.model_json_schema(ref_template=_REF + "{model}")
    definitions = schema.pop("$defs", {})
    if issubclass(kind, CompletionOptions):
        _accept(schema, NEUTRAL)
    if ChatMessage.__name__ in definitions:
        _accept(definitions[ChatMessage.__name__], MESSAGE_NEUTRAL)
    inlined: dict[str, Any] = _inlined(schema, definitions)
    return inlined


def _accept(schema: dict[str, Any], neutral: Mapping[str, tuple[Any, ...]]) -> None:
    """Add what `body.parse` takes beyond the model: null for whatever may be left out, and the
    values of foreign parameters that change nothing."""
    known: dict[str, Any] = schema["properties"]
    for name in known.keys() - set(schema.get("required", ())):
        if _NULL not in known[name].get("anyOf", ()):
            known[name] = {"anyOf": [known[name], _NULL]}
    for name in neutral.keys() - known.keys():
        known[name] = {"enum": [*neutral[name], None]}


def _inlined(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """The schema without references: no model of ours contains itself."""
    if isinstance(schema, list):
        return [_inlined(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    reference = schema.get("$ref", "")
    if reference.startswith(_REF):
        return _inlined(definitions[reference.removeprefix(_REF)], definitions)
    return {name: _inlined(each, definitions) for name, each in schema.items()}


CHAT_ANSWERS = _answers(ChatCompletion, ChatChunk)
TEXT_ANSWERS = _answers(TextCompletion, TextChunk)
"""`responses` of the routes of chat and of text completions."""
