"""The parts of an engine on a GPU: a cache of all memory that is left, and graphs of decodes."""

from __future__ import annotations

import torch

from worker.engine.base import EngineError
from worker.engine.decode_graphs import CudaCapture, graph_sizes
from worker.engine.device_forward import DeviceForward
from worker.engine.gpu_memory import measure
from worker.engine.host_pool import HostPool
from worker.engine.kv_cache import KvCache, token_bytes
from worker.engine.loading import report_loading
from worker.engine.memory import require_bytes
from worker.engine.options import Options
from worker.engine.runner import Runner
from worker.engine.sampler import Sampler
from worker.engine.trial_step import trial_rows, varied_steps
from worker.models.base import Model
from worker.scheduling.scheduler import Limits


def runner_on_gpu(
    model: Model, options: Options, max_context: int, dtype: torch.dtype, sampler: Sampler
) -> tuple[Runner, Limits]:
    """Size the cache by measurement, then compile the kernels and record the graphs.

    Args:
        dtype: of the KV cache.

    Raises:
        EngineError: memory is left for less than one sequence of full length.
    """
    report_loading("memory profile")
    device = sampler.device
    block_tokens = options.block_tokens
    table_blocks = -(-max_context // block_tokens)
    limits = Limits(options.max_running, options.step_token_budget, table_blocks, block_tokens)
    sizes = graph_sizes(options.max_running) if options.cuda_graphs else []
    footprint = measure(model, dtype, limits, table_blocks, sampler, sizes)
    torch.cuda.empty_cache()
    budget = footprint.kv_bytes(*torch.cuda.mem_get_info(device), options.gpu_memory_share)
    block_bytes = block_tokens * token_bytes(model.shape, dtype)
    blocks = kv_blocks(options, table_blocks, block_bytes, budget)
    limits = options.limits(blocks, block_bytes)
    cache = KvCache(model.shape, blocks, block_tokens, dtype, device)
    forward = DeviceForward(model, cache, limits, table_blocks, device)
    require_bytes(options.swap_bytes, "the host memory of swap_bytes")
    runner = Runner(forward, block_tokens, sampler, HostPool.of(cache, limits.host_blocks))
    report_loading("kernels")
    choices = trial_rows(1, model.shape.vocabulary, device)
    for layout in varied_steps(limits, table_blocks, choices):
        runner.launch(layout).result()
    if sizes:
        forward.record(sizes, CudaCapture(), _report_graphs)
    return runner, limits


def kv_blocks(options: Options, table_blocks: int, block_bytes: int, budget: int) -> int:
    """Blocks of the cache, the null block not counted: as many as `max_running` sequences of full
    length need, within the options and the budget.

    Raises:
        EngineError: the budget does not hold what is asked for, or not one sequence.
    """
    fitting = budget // block_bytes - 1
    if options.kv_cache_tokens is not None:
        asked = options.kv_cache_tokens // options.block_tokens
    elif options.kv_cache_bytes is not None:
        asked = options.kv_cache_bytes // block_bytes - 1
    else:
        asked = min(options.max_running * table_blocks, fitting)
    if asked > fitting or asked < table_blocks:
        needed = max(asked, table_blocks) + 1
        raise EngineError(
            f"the KV cache needs {needed * block_bytes >> 20} MiB; weights, steps and graphs leave "
            f"{budget >> 20} MiB of the GPU's memory: lower max_context_tokens, or the cache"
        )
    return asked


def _report_graphs(done: int, total: int) -> None:
    report_loading(f"graphs {done}/{total}")
