"""What a client may ask for: OpenAI's chat and text completions, checked before anything runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    JsonValue,
    field_validator,
    model_validator,
)

from control_plane.gateway.chat_template import RESERVED
from control_plane.gateway.display import Display
from control_plane.gateway.messages import ChatMessage
from control_plane.gateway.request_part import RequestPart
from control_plane.gateway.sampling_schema import MAX_TOP_LOGPROBS, SamplingOptions
from control_plane.gateway.structured_output import StructuredAnswer
from control_plane.gateway.tools.request import ToolOptions
from infra.wire import OfferedTools

MAX_STOPS = 4
MAX_STOP_CHARS = 1024
MAX_CHOICES = 8
MAX_TEMPLATE_ARGUMENTS = 32
MAX_SEQUENCES = 64
"""Prompts times choices of one request."""

_INT64 = 1 << 63


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


class CompletionOptions(StructuredAnswer, SamplingOptions):
    """What chat and text completions have in common."""

    model: str = Field(min_length=1, max_length=256)
    stop: Stops = []
    n: int = Field(1, ge=1, le=MAX_CHOICES)
    max_tokens: int | None = Field(None, ge=1, lt=_INT64)
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

    @model_validator(mode="after")
    def _prompt_logprobs_come_at_once(self) -> CompletionOptions:
        if self.prompt_logprobs is not None and (self.stream or self.background):
            raise ValueError("'prompt_logprobs' is not allowed with 'stream' or 'background'")
        return self

    @property
    def told_logprobs(self) -> int | None:
        """How many likeliest tokens are shown with each token; None where nothing is."""
        return None

    @property
    def told_prompt_logprobs(self) -> int:
        """The same for the prompt's tokens; -1 where they are not told."""
        return -1 if self.prompt_logprobs is None else self.prompt_logprobs

    @property
    def sequences(self) -> int:
        """How many are generated for each prompt."""
        return self.n

    @property
    def ranks(self) -> bool:
        """Whether only the best of them are choices."""
        return self.sequences > self.n

    @property
    def display(self) -> Display:
        return Display(
            stops=tuple(self.stop),
            include_stop=self.include_stop_str_in_output,
            special_tokens=not self.skip_special_tokens,
            logprobs=self.told_logprobs is not None,
        )

    def tools_read_by(self, template: str) -> OfferedTools | None:  # noqa: ARG002
        """How calls are found in the answer; None where none are offered."""
        return None

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


class ChatRequest(ToolOptions, CompletionOptions):
    messages: list[ChatMessage] = Field(min_length=1)
    chat_template_kwargs: dict[str, JsonValue] = Field({}, max_length=MAX_TEMPLATE_ARGUMENTS)
    """vLLM's: what the model's chat template reads beside messages and tools."""
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    """Handed to the chat template, where that reads it."""
    max_completion_tokens: int | None = Field(None, ge=1, lt=_INT64)
    logprobs: bool = False
    top_logprobs: int | None = Field(None, ge=0, le=MAX_TOP_LOGPROBS)

    @field_validator("chat_template_kwargs")
    @classmethod
    def _of_the_template_alone(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        for name in RESERVED.intersection(value):
            raise ValueError(f"'{name}' is not an argument: the request or the model says it")
        return value

    @property
    def template_arguments(self) -> dict[str, JsonValue]:
        """`chat_template_kwargs` has the last word."""
        effort = {"reasoning_effort": self.reasoning_effort} if self.reasoning_effort else {}
        return {**effort, **self.chat_template_kwargs}

    @model_validator(mode="after")
    def _top_logprobs_need_logprobs(self) -> ChatRequest:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("'top_logprobs' is only allowed when 'logprobs' is true")
        return self

    @property
    def told_logprobs(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def output_limit(self) -> int | None:
        """Beside the new name the old one means nothing."""
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
    max_tokens: int | None = Field(None, ge=0, lt=_INT64)
    """0: nothing but what is told of the prompt."""
    best_of: int | None = Field(None, ge=1, le=MAX_CHOICES)
    """Generate so many for each prompt, and answer with the `n` of the highest mean
    log-probability of a token."""
    echo: bool = False
    logprobs: int | None = Field(None, ge=0, le=MAX_TOP_LOGPROBS)
    """OpenAI takes at most 5."""

    @model_validator(mode="after")
    def _bounded(self) -> TextRequest:
        if self.best_of is not None and self.best_of < self.n:
            raise ValueError("'best_of' must be at least 'n'")
        if self.ranks and (self.stream or self.background):
            raise ValueError(
                "'best_of' above 'n' is not allowed with 'stream' or 'background': which are the "
                "best is known at the end"
            )
        if len(self.prompt) * self.sequences > MAX_SEQUENCES:
            raise ValueError(
                f"'prompt' times 'n' (or 'best_of') may be at most {MAX_SEQUENCES} sequences"
            )
        return self

    @model_validator(mode="after")
    def _something_is_told(self) -> TextRequest:
        if self.max_tokens == 0:
            if not self.echo and self.prompt_logprobs is None:
                raise ValueError(
                    "'max_tokens' may be 0 where the prompt is told: with 'echo' or "
                    "'prompt_logprobs'"
                )
            if self.ranks:
                raise ValueError(
                    "'best_of' above 'n' ranks answers, and 'max_tokens' of 0 has none"
                )
        return self

    @property
    def output_limit(self) -> int | None:
        """A prompt is scored by asking for the token after it, which is not shown."""
        return 1 if self.max_tokens == 0 else self.max_tokens

    @property
    def told_logprobs(self) -> int | None:
        return self.logprobs

    @property
    def sequences(self) -> int:
        return self.best_of or self.n

    @property
    def told_prompt_logprobs(self) -> int:
        shown = -1 if self.logprobs is None or not self.echo else self.logprobs
        return max(shown, super().told_prompt_logprobs)

    @property
    def display(self) -> Display:
        return replace(super().display, echo=self.echo, prompt_only=self.max_tokens == 0)
