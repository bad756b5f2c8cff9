"""What a client may ask for: OpenAI's chat and text completions, checked before anything runs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

MAX_STOPS = 4
MAX_STOP_CHARS = 1024
MAX_CHOICES = 8
MAX_SEQUENCES = 64
"""Prompts times choices of one request."""

_INT64 = 1 << 63


class RequestPart(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)


def _one_or_more_stops(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Stop = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARS)]
_StopInput = Stop | Annotated[list[Stop], Field(max_length=MAX_STOPS)]
Stops = Annotated[
    list[Stop],
    Field(max_length=MAX_STOPS),
    BeforeValidator(_one_or_more_stops, json_schema_input_type=_StopInput),
]


class StreamOptions(RequestPart):
    include_usage: bool = False
    include_obfuscation: bool = False
    """Accepted; nothing is padded either way."""


class CompletionOptions(RequestPart):
    """What chat and text completions have in common."""

    model: str = Field(min_length=1, max_length=256)
    temperature: float = Field(1.0, ge=0, le=2)
    top_p: float = Field(1.0, ge=0, le=1)
    top_k: int = Field(0, ge=-1, le=1 << 31)
    """Not OpenAI's: keep the k likeliest tokens; 0 or -1 keeps all."""
    seed: int | None = Field(None, ge=-_INT64, lt=_INT64)
    stop: Stops = []
    n: int = Field(1, ge=1, le=MAX_CHOICES)
    max_tokens: int | None = Field(None, ge=1, lt=_INT64)
    ignore_eos: bool = False
    """Not OpenAI's: go on to `max_tokens`, for load tests."""
    stream: bool = False
    stream_options: StreamOptions | None = None
    background: bool = False
    """As in OpenAI's Responses API: run to the end whoever listens; the answer is fetched later."""

    # Accepted, and without effect here.
    user: str | None = None
    metadata: dict[str, str] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    service_tier: Literal["auto", "default"] | None = None
    store: Literal[False] | None = None

    @model_validator(mode="after")
    def _options_need_a_stream(self) -> CompletionOptions:
        if self.stream_options is not None and not self.stream:
            raise ValueError("'stream_options' is only allowed when 'stream' is true")
        return self

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


class TextPart(RequestPart):
    type: Literal["text"]
    text: str


def _joined_text(value: Any) -> Any:
    """Content as templates expect it: parts become one text, a line each."""
    if not isinstance(value, list):
        return value
    if not value:
        raise ValueError("a list of content parts may not be empty")
    return "\n".join(TextPart.model_validate(part).text for part in value)


class ChatMessage(RequestPart):
    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[
        str,
        BeforeValidator(
            _joined_text,
            json_schema_input_type=str | Annotated[list[TextPart], Field(min_length=1)],
        ),
    ]
    name: str | None = None

    def for_template(self) -> dict[str, Any]:
        """Templates know `system`, which is what OpenAI's `developer` was called before."""
        role = "system" if self.role == "developer" else self.role
        message = {"role": role, "content": self.content}
        return message if self.name is None else {**message, "name": self.name}


class ChatRequest(CompletionOptions):
    messages: list[ChatMessage] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1, lt=_INT64)

    @model_validator(mode="after")
    def _one_limit(self) -> ChatRequest:
        limits = {self.max_tokens, self.max_completion_tokens} - {None}
        if len(limits) > 1:
            raise ValueError("give 'max_completion_tokens' or 'max_tokens', not two limits")
        return self

    @property
    def output_limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens


Prompts = list[str] | list[list[int]]
_Tokens = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
_Texts = Annotated[list[str], Field(min_length=1)]
_PromptInput = str | _Texts | _Tokens | Annotated[list[_Tokens], Field(min_length=1)]


def _prompt_list(value: Any) -> Any:
    """One prompt or many, as text or token ids: always as a list of prompts."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and value:
        if all(isinstance(each, str) for each in value):
            return value
        if all(_is_token(each) for each in value):
            return [value]
        if all(isinstance(each, list) and each and all(map(_is_token, each)) for each in value):
            return value
    raise ValueError(
        "must be a string, a list of strings, a list of token ids, or a list of such lists; "
        "none of them empty"
    )


def _is_token(value: Any) -> bool:
    return type(value) is int and value >= 0


class TextRequest(CompletionOptions):
    prompt: Annotated[Prompts, BeforeValidator(_prompt_list, json_schema_input_type=_PromptInput)]
    best_of: int | None = None

    @model_validator(mode="after")
    def _bounded(self) -> TextRequest:
        if self.best_of not in (None, self.n):
            raise ValueError("'best_of' is not supported yet unless it equals 'n'; leave it out")
        if len(self.prompt) * self.n > MAX_SEQUENCES:
            raise ValueError(f"'prompt' times 'n' may be at most {MAX_SEQUENCES} sequences")
        return self
