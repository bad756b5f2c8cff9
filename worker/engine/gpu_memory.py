"""How much of a GPU's memory the KV cache may have: what is left by weights, steps and graphs, as
measured by running the largest step."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from worker.engine.base import EngineError
from worker.engine.decode_graphs import CudaCapture
from worker.engine.device_forward import DeviceForward
from worker.engine.kv_cache import KvCache
from worker.engine.runner import Runner
from worker.engine.sampler import Sampler
from worker.engine.trial_step import largest_step, trial_rows
from worker.models.base import Model
from worker.scheduling.scheduler import Limits

CAUTION = 1.05
"""Of the measured peak: the allocator keeps blocks that fit no later request."""
GRAPH_BYTES = 16 << 20
"""What the driver keeps for each graph after the first, beside the tensors that they share."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """Memory that steps need beside weights and KV cache, in bytes."""

    step_bytes: int
    """At the peak of the largest step, its sampling included."""
    graph_bytes: int

    def kv_bytes(self, free_bytes: int, total_bytes: int, share: float) -> int:
        """What the KV cache may have.

        Args:
            free_bytes: now, with the weights loaded.
            share: how much of the whole memory may be used, by us and everybody else.

        Raises:
            EngineError: nothing is left.
        """
        spare = int(total_bytes * (1 - share))
        left = free_bytes - spare - int(self.step_bytes * CAUTION) - self.graph_bytes
        if left <= 0:
            raise EngineError(
                f"of the GPU's {total_bytes >> 20} MiB, {free_bytes >> 20} are free after the "
                f"weights; a step takes {self.step_bytes >> 20}, graphs {self.graph_bytes >> 20}, "
                f"and {spare >> 20} are spared (gpu_memory_share): lower step_token_budget or "
                f"max_running"
            )
        return left


def measure(
    model: Model,
    dtype: torch.dtype,
    limits: Limits,
    table_blocks: int,
    sampler: Sampler,
    sizes: list[int],
) -> Footprint:
    """Run the largest step and record the largest graph, over a cache of nothing but the null
    block.

    Args:
        dtype: of the KV cache.
        sizes: of the graphs that will be recorded, rising; none where the list is empty.
    """
    device = sampler.device
    cache = KvCache(model.shape, 0, limits.block_tokens, dtype, device)
    forward = DeviceForward(model, cache, limits, table_blocks, device)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    # Every sequence is one whose history is kept, so that the histories are in the figure too.
    slices = min(limits.max_running, limits.step_tokens)
    choices = trial_rows(slices, model.shape.vocabulary, device)
    runner = Runner(forward, limits.block_tokens, sampler)
    runner.launch(largest_step(limits, table_blocks, choices)).result()
    step_bytes = torch.cuda.max_memory_allocated() - before
    return Footprint(step_bytes, _graph_bytes(forward, sizes) if sizes else 0)


def _graph_bytes(forward: DeviceForward, sizes: list[int]) -> int:
    torch.cuda.empty_cache()
    free_bytes, _ = torch.cuda.mem_get_info()
    forward.record(sizes[-1:], CudaCapture(), lambda _done, _total: None)
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    taken = free_bytes - torch.cuda.mem_get_info()[0]
    return max(0, taken) + len(sizes) * GRAPH_BYTES
