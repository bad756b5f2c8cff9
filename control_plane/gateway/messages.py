"""The messages of a chat, as clients send them and as templates read them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from control_plane.gateway.request_part import RequestPart
from control_plane.gateway.tools.schemas import ToolCall


class TextPart(RequestPart):
    type: Literal["text"]
    text: str


def _joined_text(value: Any, info: ValidationInfo) -> Any:
    """Content as templates expect it: parts become one text, a line each."""
    if value is None and info.data.get("tool_calls"):
        return ""
    if value is None:
        raise PydanticCustomError("missing", "content is missing")
    if not isinstance(value, list):
        return value
    if not value:
        raise ValueError("a list of content parts may not be empty")
    return "\n".join(TextPart.model_validate(part).text for part in value)


class ChatMessage(RequestPart):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    tool_calls: list[ToolCall] = []
    content: Annotated[
        str,
        BeforeValidator(
            _joined_text,
            json_schema_input_type=str | Annotated[list[TextPart], Field(min_length=1)],
        ),
    ] = Field(None, validate_default=True)
    """May be left out beside calls, and nowhere else."""
    name: str | None = None
    tool_call_id: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> ChatMessage:
        if self.tool_calls and self.role != "assistant":
            raise ValueError("'tool_calls' is only for messages of the assistant")
        if self.tool_call_id is not None and self.role != "tool":
            raise ValueError("'tool_call_id' is only for messages of a tool")
        return self

    def for_template(self) -> dict[str, Any]:
        """Templates know `system`, which is what OpenAI's `developer` was called before."""
        role = "system" if self.role == "developer" else self.role
        message: dict[str, Any] = {"role": role, "content": self.content}
        if self.tool_calls:
            message["tool_calls"] = [call.for_template() for call in self.tool_calls]
        named = {"name": self.name, "tool_call_id": self.tool_call_id}
        return {**message, **{key: value for key, value in named.items() if value is not None}}
