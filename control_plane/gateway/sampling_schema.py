"""How a client may want tokens to be chosen: OpenAI's parameters, and vLLM's beyond them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from control_plane.gateway.request_part import RequestPart

MAX_BIASES = 1024
MAX_STOP_IDS = 64
MAX_TOP_LOGPROBS = 20

_INT64 = 1 << 63
_Bias = Annotated[float, Field(ge=-100, le=100)]
_BiasInput = dict[Annotated[str, Field(pattern=r"^[0-9]{1,9}$")], _Bias]


def _by_token_id(value: Any) -> Any:
    """JSON has strings for keys."""
    if not isinstance(value, dict):
        return value
    if not all(isinstance(key, str) and key.isascii() and key.isdigit() for key in value):
        raise ValueError("keys must be token ids, written as strings of digits")
    biases = {int(key): bias for key, bias in value.items()}
    if len(biases) < len(value):
        raise ValueError("a token id stands in it twice")
    return biases


class SamplingOptions(RequestPart):
    temperature: float = Field(1.0, ge=0, le=2)
    top_p: float = Field(1.0, ge=0, le=1)
    presence_penalty: float = Field(0.0, ge=-2, le=2)
    frequency_penalty: float = Field(0.0, ge=-2, le=2)
    logit_bias: Annotated[
        dict[int, _Bias],
        Field(max_length=MAX_BIASES),
        BeforeValidator(_by_token_id, json_schema_input_type=_BiasInput),
    ] = {}
    seed: int | None = Field(None, ge=-_INT64, lt=_INT64)

    # Not OpenAI's, but vLLM's.
    top_k: int = Field(0, ge=-1, le=1 << 31)
    """Keep the k likeliest tokens; 0 or -1 keeps all."""
    min_p: float = Field(0.0, ge=0, le=1)
    repetition_penalty: float = Field(1.0, ge=0.01, le=100)
    min_tokens: int = Field(0, ge=0, lt=_INT64)
    stop_token_ids: list[Annotated[int, Field(ge=0)]] = Field([], max_length=MAX_STOP_IDS)
    ignore_eos: bool = False
    """Go on to `max_tokens`, for load tests."""
    prompt_logprobs: int | None = Field(None, ge=0, le=MAX_TOP_LOGPROBS)
    include_stop_str_in_output: bool = False
    skip_special_tokens: bool = True
