"""The answers of `/v1` as OpenAPI describes them; `responses.py` writes them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Status = Literal["queued", "in_progress", "completed", "failed", "cancelled", "expired"]


class AnswerPart(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ErrorDetail(AnswerPart):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(AnswerPart):
    error: ErrorDetail


class Usage(AnswerPart):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class TopLogprob(AnswerPart):
    token: str
    bytes: list[int] | None
    logprob: float


class TokenLogprobAnswer(TopLogprob):
    top_logprobs: list[TopLogprob]


class ChatLogprobs(AnswerPart):
    content: list[TokenLogprobAnswer]
    refusal: None


class TextLogprobs(AnswerPart):
    """With `echo` the first token, which nothing comes before, has none."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class PromptLogprob(AnswerPart):
    """vLLM's."""

    logprob: float
    rank: int | None
    decoded_token: str


class AnswerFunction(AnswerPart):
    name: str
    arguments: str
    """JSON text, as the model wrote it."""


class AnswerCall(AnswerPart):
    id: str
    type: Literal["function"]
    function: AnswerFunction


class ChatAnswerMessage(AnswerPart):
    role: Literal["assistant"]
    content: str | None
    """Null where there is nothing but calls."""
    refusal: None
    tool_calls: list[AnswerCall] = []


class ChatChoice(AnswerPart):
    index: int
    message: ChatAnswerMessage
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length", "tool_calls"]


class ChatCompletion(AnswerPart):
    id: str
    object: Literal["chat.completion"]
    created: int
    """Epoch seconds."""
    model: str
    system_fingerprint: str
    """The revision that answered."""
    choices: list[ChatChoice]
    usage: Usage | None
    prompt_logprobs: list[dict[str, PromptLogprob] | None] | None = None
    status: Status = "completed"
    error: ErrorDetail | None = None
    """`status` and `error` are said of durable requests; those without an end have no choices and
    no usage yet."""


class TextChoice(AnswerPart):
    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: Literal["stop", "length"]
    prompt_logprobs: list[dict[str, PromptLogprob] | None] | None = None


class TextCompletion(AnswerPart):
    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[TextChoice]
    usage: Usage | None
    status: Status = "completed"
    error: ErrorDetail | None = None


class FunctionDelta(AnswerPart):
    name: str = ""
    arguments: str = ""


class CallDelta(AnswerPart):
    """The first one of a call has everything but the whole of its arguments; further ones add to
    these."""

    index: int
    id: str = ""
    type: Literal["function"] = "function"
    function: FunctionDelta


class Delta(AnswerPart):
    role: Literal["assistant"] = "assistant"
    content: str | None = ""
    tool_calls: list[CallDelta] = []


class ChatChunkChoice(AnswerPart):
    index: int
    delta: Delta
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length", "tool_calls"] | None


class ChatChunk(AnswerPart):
    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChunkChoice]
    usage: Usage | None = None
    """With `stream_options.include_usage`: null but in the last chunk, which has no choices."""


class TextChunkChoice(AnswerPart):
    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: Literal["stop", "length"] | None


class TextChunk(AnswerPart):
    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[TextChunkChoice]
    usage: Usage | None = None


class ModelAnswer(AnswerPart):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    max_model_len: int
    """Tokens of prompt and completion together."""


class ModelList(AnswerPart):
    object: Literal["list"]
    data: list[ModelAnswer]
