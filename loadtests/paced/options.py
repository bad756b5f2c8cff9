"""What a paced engine declares of itself."""

from __future__ import annotations

from typing import Any

import msgspec

from loadtests.paced.context_hash import DEFAULT_VOCABULARY
from worker.engine.base import EngineError


class PacedOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of the engine `paced`; whatever a deployment says of any engine is taken as well."""

    tokens_per_s: float = 50.0
    """Output tokens of one sequence per second."""
    max_running: int = 8
    """Sequences in one batch."""
    step_s: float = 0.0
    """Duration of a decode step; 0: one token a step."""
    prefill_tokens_per_s: float = 20_000.0
    load_s: float = 0.0
    """How long it pretends to load."""
    kv_tokens_total: int = 1 << 20
    max_context_tokens: int = 1 << 16
    first_token: int = DEFAULT_VOCABULARY.start
    vocabulary_size: int = len(DEFAULT_VOCABULARY)
    eos_every: int = 0
    """A sequence ends after this many tokens on average; 0: only at its limit."""
    fail_after_tokens: int = 0
    """The engine breaks after so many output tokens; 0: never."""
    dtype: str = "auto"
    """This and the following are said of every engine; there are no numbers here to round."""
    quantization: str = "auto"
    tensor_parallel: int = 1
    exact: bool = False

    @property
    def vocabulary(self) -> range:
        return range(self.first_token, self.first_token + self.vocabulary_size)

    @property
    def tokens_per_step(self) -> int:
        return max(1, round(self.step_s * self.tokens_per_s))

    @property
    def decode_step_s(self) -> float:
        return self.tokens_per_step / self.tokens_per_s


_POSITIVE = (
    "tokens_per_s",
    "max_running",
    "prefill_tokens_per_s",
    "kv_tokens_total",
    "max_context_tokens",
    "vocabulary_size",
)
_NOT_NEGATIVE = ("step_s", "load_s", "first_token", "eos_every", "fail_after_tokens")


def read_options(options: dict[str, Any]) -> PacedOptions:
    """Check what a deployment asks for.

    Raises:
        EngineError: an unknown option, a wrong type or a number that makes no sense.
    """
    try:
        read = msgspec.convert(options, PacedOptions)
    except msgspec.ValidationError as error:
        raise EngineError(f"options of the paced engine: {error}") from error
    for name in _POSITIVE:
        if not 0 < getattr(read, name) < float("inf"):
            raise EngineError(f"options of the paced engine: {name} must be greater than 0")
    for name in _NOT_NEGATIVE:
        if not 0 <= getattr(read, name) < float("inf"):
            raise EngineError(f"options of the paced engine: {name} must not be negative")
    return read
