"""Puts an engine together from its spec: options, model, weights, KV cache, limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from infra.host_memory import available_bytes
from worker.engine.base import EngineError, EngineSpec
from worker.engine.device import choose_device, with_gpu_defaults
from worker.engine.gpu_assembly import runner_on_gpu
from worker.engine.grammar.compiler import GrammarCompiler
from worker.engine.host_forward import HostForward
from worker.engine.host_pool import HostPool
from worker.engine.kv_cache import KvCache, cache_dtype, token_bytes
from worker.engine.loop import Loop, OverlappedLoop, PlainLoop
from worker.engine.memory import require_bytes
from worker.engine.model_loading import begin_model, check_model, choose_quantization
from worker.engine.options import DEFAULT_CONTEXT_TOKENS, Options, read_options
from worker.engine.runner import Runner
from worker.engine.sampler import Sampler
from worker.engine.step_memory import step_bytes
from worker.kernels.native.toolchain import available, compiled_before
from worker.loader.arrival import Arrival
from worker.loader.opening import open_weights
from worker.models.base import Model, ModelError, ModelShape, Placement
from worker.models.registry import read_json
from worker.scheduling.scheduler import Limits, Scheduler

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_BF16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16")
MIXED_PREFILL_TOKENS = 128
"""As fast a token as in larger chunks: from there on arithmetic bounds the products of a CPU."""
DEFAULT_KV_SHARE = 0.25
DEFAULT_KV_BYTES = 1 << 30
"""On a CPU the cache shares the machine's memory with everything else."""


@dataclass(frozen=True, slots=True)
class Assembly:
    """The parts of an engine."""

    runner: Runner
    sampler: Sampler
    """The runner's: it has to know every sequence."""
    grammars: GrammarCompiler
    loop: Callable[[Scheduler], Loop]
    """Makes the loop that steps the runner."""
    limits: Limits
    vocabulary: int
    max_context_tokens: int
    eos_tokens: frozenset[int]
    model: Model
    again: Callable[[], Assembly]
    """Makes the parts around the model anew, where these were freed."""
    block_copy_s: float | None = None
    """The runner's, for the cost of swapping; None where nothing is swapped."""
    arrival: Arrival | None = None
    """Of the weights, which may still be on their way; None where all of them are there."""


def assemble(spec: EngineSpec) -> Assembly:
    """Build all parts. Nothing large is allocated before headers, options and memory agree. The
    weights are on their way then: forward passes wait for what they read next.

    Raises:
        EngineError: the message says what does not fit, and what to change.
    """
    torch.set_num_threads(spec.threads)
    options = read_options(spec.options)
    device = choose_device(options.device)
    if device.type == "cuda":
        options = read_options(with_gpu_defaults(spec.options))
    config = read_json(spec.model_path / "config.json")
    source = open_weights(spec.model_path, spec.landing)
    dtype = auto_dtype(device) if options.dtype == "auto" else DTYPES[options.dtype]
    quantization = choose_quantization(options, device, source.quantised)
    shape = check_model(config, source)
    max_context = _max_context(options, shape)
    placement = Placement(dtype, device, max_context, options.exact, quantization)
    model, arrival = begin_model(config, source, placement)
    eos_tokens = read_eos_tokens(spec.model_path, config)
    kv_dtype = cache_dtype(options.kv_cache_dtype, dtype)
    directory = spec.model_path
    # Memory is measured, kernels are compiled and graphs recorded on weights that are not there.
    with arrival.ungated():
        parts = put_together(
            *(model, options, max_context, eos_tokens, kv_dtype, device, directory),
            coming_bytes=_coming_bytes(model, arrival),
        )
    return replace(parts, arrival=arrival)


def compiles_kernels(spec: EngineSpec) -> bool:
    """Whether this start has to compile the kernels of a CPU: the first one on a machine does.

    Raises:
        EngineError: the options are wrong.
    """
    device = choose_device(read_options(spec.options).device)
    return device.type == "cpu" and available() and not compiled_before()


def put_together(
    model: Model,
    options: Options,
    max_context: int,
    eos_tokens: frozenset[int],
    kv_dtype: torch.dtype,
    device: torch.device,
    directory: Path | None = None,
    coming_bytes: int = 0,
) -> Assembly:
    """Everything around a model; on a GPU its graphs are recorded.

    Args:
        coming_bytes: what weights that have not arrived are going to take of the memory that looks
            free now.
        directory: where its tokenizer lies; without one, jobs with grammars are refused.

    Raises:
        EngineError: memory does not hold what the options ask for.
    """
    sampler = Sampler(model.shape.vocabulary, device)
    if device.type == "cuda":
        runner, limits = runner_on_gpu(model, options, max_context, kv_dtype, sampler)
    else:
        beside = step_bytes(model.shape, options.step_token_budget, options.max_running)
        each_bytes = token_bytes(model.shape, kv_dtype)
        limits = _limits(options, max_context, each_bytes, beside, coming_bytes)
        cache = KvCache(model.shape, limits.blocks, limits.block_tokens, kv_dtype, device)
        forward = HostForward(model, cache, limits.block_tokens)
        pool = HostPool.of(cache, limits.host_blocks)
        runner = Runner(forward, limits.block_tokens, sampler, pool)
    return Assembly(
        runner=runner,
        sampler=sampler,
        grammars=GrammarCompiler(directory, model.shape.vocabulary, eos_tokens),
        loop=_loop(options, device, runner),
        limits=limits,
        vocabulary=model.shape.vocabulary,
        max_context_tokens=max_context,
        eos_tokens=eos_tokens,
        model=model,
        again=partial(
            put_together, model, options, max_context, eos_tokens, kv_dtype, device, directory
        ),
        block_copy_s=runner.block_copy_s,
    )


def auto_dtype(device: torch.device) -> torch.dtype:
    """bf16 on a GPU, and where the CPU has instructions for it (half the bytes, about twice the
    speed), else fp32: emulated bf16 is many times slower."""
    if device.type == "cuda":
        return torch.bfloat16
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    has_bf16 = any(capabilities.get(name) for name in _BF16_INSTRUCTIONS)
    return torch.bfloat16 if has_bf16 else torch.float32


def _loop(options: Options, device: torch.device, runner: Runner) -> Callable[[Scheduler], Loop]:
    """Overlapped on a GPU, unless the options say otherwise.

    On a CPU it does not pay: planning takes under 1 % of a step, and a new request would wait for
    one more.
    """
    on_cpu = device.type == "cpu"
    overlaps = not on_cpu if options.overlap is None else options.overlap
    if not overlaps:
        return partial(PlainLoop, runner=runner)
    return partial(OverlappedLoop, runner=runner, threaded=on_cpu)


def read_eos_tokens(directory: Path, config: dict[str, Any]) -> frozenset[int]:
    """Tokens that end a sequence: the generation config's where it has any, else the config's.

    Raises:
        ModelError: they are not token ids.
    """
    path = directory / "generation_config.json"
    generation = read_json(path) if path.exists() else {}
    value = generation.get("eos_token_id")
    if value is None:
        value = config.get("eos_token_id")
    ids = value if isinstance(value, list) else [] if value is None else [value]
    if not all(type(each) is int and each >= 0 for each in ids):
        raise ModelError(f"eos_token_id must be a token id or a list of them, not {value!r}")
    return frozenset(ids)


def _max_context(options: Options, shape: ModelShape) -> int:
    if options.max_context_tokens is None:
        return min(shape.max_positions, DEFAULT_CONTEXT_TOKENS)
    if options.max_context_tokens > shape.max_positions:
        raise EngineError(
            f"max_context_tokens is {options.max_context_tokens}; "
            f"the model was made for {shape.max_positions}"
        )
    return options.max_context_tokens


def _coming_bytes(model: Model, arrival: Arrival) -> int:
    """What a model's weights are going to take, of which `arrival` has brought a part."""
    whole = sum(each.nbytes for each in model.tensors().values())
    left = arrival.total_bytes - arrival.done_bytes
    return whole * left // max(1, arrival.total_bytes)


def _limits(
    options: Options, max_context: int, bytes_per_token: int, beside: int, coming_bytes: int
) -> Limits:
    """Size the KV cache: at least one sequence of full length, never more than there is, when
    steps take `beside` bytes and weights that are on their way `coming_bytes`."""
    per_sequence = -(-max_context // options.block_tokens)
    block_bytes = options.block_tokens * bytes_per_token
    if options.kv_cache_tokens is not None:
        blocks = options.kv_cache_tokens // options.block_tokens
    else:
        left = max(0, available_bytes() - coming_bytes)
        share = min(int(left * DEFAULT_KV_SHARE), DEFAULT_KV_BYTES)
        budget = options.kv_cache_bytes or max(share, (per_sequence + 1) * block_bytes)
        blocks = min(options.max_running * per_sequence, budget // block_bytes - 1)
    if blocks < per_sequence:
        raise EngineError(
            f"the KV cache would hold {max(0, blocks) * options.block_tokens} tokens, less than "
            f"one sequence of max_context_tokens ({max_context}): give it {bytes_per_token} bytes "
            f"a token, or lower max_context_tokens"
        )
    beside += options.swap_bytes + coming_bytes
    what = "the KV cache beside the weights" if coming_bytes else "the KV cache"
    require_bytes((blocks + 1) * block_bytes + beside, what)
    return options.limits(blocks, block_bytes, MIXED_PREFILL_TOKENS)
