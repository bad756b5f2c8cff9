"""What a deployment may ask of the torch engine: the API refuses the rest, the engine reads it."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

Count = Annotated[int, msgspec.Meta(ge=1, le=1 << 40)]


class OptionRefused(ValueError):
    """An option is unknown or has a wrong value; the message says which, and what to say."""


class EngineOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Each field is an option of `engine` or of `engine.options` in a deployment."""

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
    mixed_prefill_tokens: Count | None = None
    """Most positions of prompts in a step in which others decode, who wait for them; by default 128
    on a CPU, and whatever the budget leaves on a GPU."""
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


Asked = TypeVar("Asked", bound=EngineOptions)


def read_options(values: Mapping[str, Any], kind: type[Asked]) -> Asked:
    """Check options and read them as `kind`.

    Raises:
        OptionRefused: an option is unknown (the nearest known one is named) or has a wrong value.
    """
    for name in values:
        if name not in kind.__struct_fields__:
            raise OptionRefused(f"unknown option '{name[:100]}'; {_hint(name, kind)}")
    try:
        options = msgspec.convert(dict(values), kind)
    except msgspec.ValidationError as error:
        raise OptionRefused(_reason(str(error), kind)) from error
    if options.step_token_budget < options.max_running:
        raise OptionRefused(
            f"step_token_budget ({options.step_token_budget}) must be at least max_running "
            f"({options.max_running}): every running sequence gets a token a step"
        )
    return options


def _hint(name: str, kind: type[EngineOptions]) -> str:
    near = get_close_matches(name, kind.__struct_fields__, n=1, cutoff=0.6)
    known = ", ".join(sorted(kind.__struct_fields__))
    return f"did you mean '{near[0]}'?" if near else f"there are {known}"


def _reason(said: str, kind: type[EngineOptions]) -> str:
    """msgspec's "Expected `int`, got `str` - at `$.max_running`", the option first."""
    reason, _, place = said.partition(" - at `$.")
    reason = reason.replace("`", "")
    reason = reason[:1].lower() + reason[1:]
    name = place.rstrip("`")
    if name not in kind.__struct_fields__:
        return reason
    wanted = get_type_hints(kind)[name]
    if get_origin(wanted) is Literal:
        choices = ", ".join(f"'{each}'" for each in get_args(wanted))
        return f"{name}: {reason}; there are {choices}"
    return f"{name}: {reason}"
