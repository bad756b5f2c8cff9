"""The options of the torch engine, checked."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal

import msgspec

from worker.engine.base import EngineError
from worker.scheduling.limits import Limits

Count = Annotated[int, msgspec.Meta(ge=1, le=1 << 40)]


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a deployment may ask of this engine."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """By default a GPU if there is one."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of activations, and of weights that are not quantised; by default bfloat16 where the device
    has instructions for it."""
    quantization: Literal["auto", "none", "int8"] = "auto"
    """How the weights of products are kept: `auto` is int8 on a CPU that has instructions for it,
    where `dtype` is `auto` as well; else none, which is `dtype`."""
    max_context_tokens: Count | None = None
    """Longest sequence, prompt and output together; by default what the model allows, at most
    4096."""
    exact: bool = False
    """Each sequence's logits are the same bits in any batch, at some cost of speed."""
    max_running: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 32
    """Sequences in one batch; 256 by default on a GPU."""
    overlap: bool | None = None
    """Plan the next step while one runs; by default on a GPU only."""
    step_token_budget: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)] = 512
    """Most positions that one step computes: longer prompts are cut into chunks."""
    prefix_cache: bool = True
    """Keep what sequences leave in the KV cache, and start others with the same prefix after it."""
    swap_bytes: Annotated[int, msgspec.Meta(ge=0, le=1 << 44)] = 0
    """Host memory for the KV cache of sequences that must wait in the middle of their output; they
    are computed again where it is full, or where that is estimated to be faster. On a CPU the cache
    is host memory already, so there it gains nothing."""
    block_tokens: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 16
    """Positions of one block of the KV cache."""
    kv_cache_tokens: Count | None = None
    """Size of the KV cache; by default what `max_running` long sequences need, within
    `kv_cache_bytes`."""
    kv_cache_dtype: Literal["auto", "bfloat16", "int8", "fp8"] = "auto"
    """By default the model's; 8 bits hold about twice the tokens, with a scale for each head of
    each token."""
    kv_cache_bytes: Count | None = None
    """By default a quarter of the memory that is available after the weights, at most 1 GiB, but
    at least one sequence of full length."""

    gpu_memory_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.92
    """How much of a GPU's memory may be used, by this engine and everybody else."""
    cuda_graphs: bool = True
    """Replay decode steps as CUDA graphs."""

    def limits(self, blocks: int, block_bytes: int) -> Limits:
        """What the scheduler of such an engine may hand out, with a cache of so many blocks."""
        return Limits(
            self.max_running,
            self.step_token_budget,
            blocks,
            self.block_tokens,
            self.prefix_cache,
            self.swap_bytes // block_bytes,
        )


DEFAULT_CONTEXT_TOKENS = 4096


def read_options(values: Mapping[str, Any]) -> Options:
    """Check options.

    Raises:
        EngineError: an option is unknown (the nearest known one is named) or has a wrong value.
    """
    known = Options.__struct_fields__
    for name in values:
        if name not in known:
            near = get_close_matches(str(name), known, n=1, cutoff=0.0)[0]
            raise EngineError(f"unknown engine option {name!r}; did you mean {near!r}?")
    try:
        options = msgspec.convert(dict(values), Options)
    except msgspec.ValidationError as error:
        raise EngineError(f"engine options: {error}") from error
    if options.step_token_budget < options.max_running:
        raise EngineError(
            f"step_token_budget ({options.step_token_budget}) must be at least max_running "
            f"({options.max_running}): every running sequence gets a token a step"
        )
    return options
