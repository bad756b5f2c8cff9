"""Functions and calls as clients send them, in OpenAI's shapes."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from control_plane.gateway.request_part import RequestPart

MAX_TOOLS = 128
_NAME = r"^[a-zA-Z0-9_.-]{1,64}$"


class Function(RequestPart):
    name: str = Field(pattern=_NAME)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    """A JSON schema of an object."""
    strict: bool | None = None
    """Accepted. Arguments of a call that is demanded always match; nothing makes others match."""

    @field_validator("parameters")
    @classmethod
    def _of_an_object(cls, schema: dict[str, Any] | None) -> dict[str, Any] | None:
        if schema is not None and schema.get("type", "object") != "object":
            raise ValueError("must be the JSON schema of an object")
        return schema


class FunctionTool(RequestPart):
    type: Literal["function"]
    function: Function

    def for_template(self) -> dict[str, Any]:
        """As chat templates expect it."""
        function = self.function.model_dump(exclude_none=True, exclude={"strict"})
        return {"type": "function", "function": {"description": "", **function}}

    @property
    def parameters_text(self) -> str:
        """The schema of its arguments, which are an object in any case."""
        return json.dumps({"type": "object", **(self.function.parameters or {"properties": {}})})


class FunctionName(RequestPart):
    name: str = Field(min_length=1, max_length=64)


class ToolChoice(RequestPart):
    """A word, or the function that must be called."""

    type: Literal["none", "auto", "required", "function"]
    function: FunctionName | None = None

    @model_validator(mode="after")
    def _function_where_due(self) -> ToolChoice:
        if (self.type == "function") != (self.function is not None):
            raise ValueError("'function' names the function that must be called")
        return self


def _worded(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value not in _WORDS:
        raise ValueError(f"must be one of {', '.join(_WORDS)}, or name a function")
    return {"type": value}


class _NamedFunction(RequestPart):
    type: Literal["function"]
    function: FunctionName


_WORDS = ("none", "auto", "required")
ToolChoiceInput = Annotated[
    ToolChoice,
    BeforeValidator(
        _worded, json_schema_input_type=Literal["none", "auto", "required"] | _NamedFunction
    ),
]
Tools = Annotated[list[FunctionTool], Field(max_length=MAX_TOOLS)]


class CalledFunction(RequestPart):
    name: str = Field(min_length=1, max_length=256)
    arguments: str


class ToolCall(RequestPart):
    """A call of an earlier answer, sent back."""

    id: str = Field(min_length=1, max_length=256)
    type: Literal["function"] = "function"
    function: CalledFunction
    index: int | None = None
    """What clients keep of a stream."""

    def for_template(self) -> dict[str, Any]:
        """Its arguments as the text that they are; `prompt` makes objects of them."""
        return self.model_dump(exclude={"index"})
