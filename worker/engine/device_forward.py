"""The forward pass on a GPU: one copy to the device a step, decodes as replays of CUDA graphs.

Nothing here waits for the device, and nothing asks whether it is one: on a CPU the same code copies
from one place of memory to another, which is how it is tested.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from worker.engine.decode_graphs import Body, Capture, DecodeGraphs
from worker.engine.kv_cache import KvCache
from worker.engine.staging import ALIGNMENT_BYTES, Staging
from worker.engine.step_layout import StepLayout
from worker.kernels.paged_attention import AttentionBatch, RaggedLayout
from worker.models.base import Model, StepInput
from worker.scheduling.scheduler import Limits


@dataclass(frozen=True, slots=True)
class _Sent:
    """A layout on the device. Up to `starts`, places follow from the numbers of rows and slices:
    graphs read them there."""

    token_ids: Tensor
    positions: Tensor
    slots: Tensor
    row_starts: Tensor
    starts: Tensor
    sampled_rows: Tensor
    tables: Tensor


class DeviceForward:
    """Runs steps eagerly until `record` has been called.

    Args:
        table_blocks: blocks of the longest sequence.
    """

    def __init__(
        self,
        model: Model,
        cache: KvCache,
        limits: Limits,
        table_blocks: int,
        device: torch.device,
    ) -> None:
        self._model = model
        self._cache = cache
        self._device = device
        self._most_decodes = min(limits.max_running, limits.step_tokens)
        self._staging = Staging(_step_bytes(limits, table_blocks), device)
        self._graphs = DecodeGraphs((), ())
        # A graph reads its tables from here: their width is a part of it, that of a step varies.
        shape = (self._most_decodes, table_blocks)
        self._tables = torch.zeros(shape, dtype=torch.int32, device=device)
        self._every_row = torch.arange(self._most_decodes, device=device)
        self._logits = torch.empty(0, model.shape.vocabulary, device=device)

    @torch.inference_mode()
    def record(
        self, sizes: list[int], capture: Capture, progress: Callable[[int, int], None]
    ) -> None:
        """Record decode steps of these numbers of rows."""
        shape = (max(sizes), self._model.shape.vocabulary)
        self._logits = torch.empty(shape, dtype=torch.float32, device=self._device)
        self._graphs = DecodeGraphs.record(sizes, self._decode_body, capture, progress)

    def run(self, layout: StepLayout, before: Tensor) -> Tensor:
        """See `Forward`."""
        size = self._graphs.size_for(layout.rows) if layout.decodes_only else None
        if size is None:
            return self.head(self.hidden_states(layout, before))
        sent = self._send(_filled_up(layout, size), before)
        self._tables[:size, : sent.tables.shape[1]].copy_(sent.tables)
        self._graphs.replay(size)
        return self._logits[: layout.rows]

    def hidden_states(self, layout: StepLayout, before: Tensor) -> Tensor:
        """See `Forward`."""
        sent = self._send(layout, before)
        ragged = RaggedLayout(sent.row_starts, sent.starts, sent.tables)
        step = _step_input(sent, sent.sampled_rows, ragged)
        return self._model.hidden_states(step, self._cache)

    def head(self, hidden: Tensor) -> Tensor:
        """See `Forward`."""
        return self._model.head(hidden)

    def _send(self, layout: StepLayout, before: Tensor) -> _Sent:
        row_starts = np.zeros(len(layout.counts) + 1, np.int32)
        layout.counts.cumsum(out=row_starts[1:])
        token_ids, positions, slots, row_starts_there, starts, sampled, rows, samples, tables = (
            self._staging.send(
                [
                    layout.token_ids,
                    layout.positions,
                    layout.slots,
                    row_starts,
                    layout.starts.astype(np.int32),
                    np.concatenate([layout.sampled_rows, layout.told_rows]),
                    layout.awaited_rows,
                    layout.awaited_samples,
                    layout.tables,
                ]
            )
        )
        if len(layout.awaited_rows):
            # A step that gave no token ends its sequence; what is computed here is dropped.
            token_ids.index_copy_(0, rows, before.index_select(0, samples).clamp_min_(0))
        return _Sent(token_ids, positions, slots, row_starts_there, starts, sampled, tables)

    def _decode_body(self, size: int) -> Body:
        sent = self._send(_nobody(size), self._every_row)
        rows = self._every_row[:size]
        ragged = RaggedLayout(sent.row_starts, sent.starts, self._tables[:size])
        step = _step_input(sent, rows, ragged)

        def body() -> None:
            self._logits[:size].copy_(self._model.forward(step, self._cache))

        return body


def _step_input(sent: _Sent, sampled_rows: Tensor, ragged: RaggedLayout) -> StepInput:
    batch = AttentionBatch.of_ragged(ragged)
    return StepInput(sent.token_ids, sent.positions, sent.slots, sampled_rows, batch)


def _nobody(rows: int) -> StepLayout:
    """Decodes that belong to nobody: each reads and writes the null block."""
    zeros = np.zeros(rows, np.int64)
    nothing = np.zeros(0, np.int64)
    return StepLayout(
        token_ids=zeros,
        positions=zeros,
        slots=zeros,
        sampled_rows=np.arange(rows),
        sampling=(),
        choices=(),
        prompts=(),
        awaited_rows=nothing,
        awaited_samples=nothing,
        starts=zeros,
        counts=np.ones(rows, np.int64),
        tables=np.zeros((rows, 1), np.int32),
        block_tables=(),
        fresh_blocks=(),
    )


def _filled_up(layout: StepLayout, size: int) -> StepLayout:
    """A decode step with rows that belong to nobody behind its own."""
    if layout.rows == size:
        return layout
    nobody = _nobody(size - layout.rows)
    tables = np.zeros((size, layout.tables.shape[1]), np.int32)
    tables[: layout.rows] = layout.tables
    return replace(
        layout,
        token_ids=np.concatenate([layout.token_ids, nobody.token_ids]),
        positions=np.concatenate([layout.positions, nobody.positions]),
        slots=np.concatenate([layout.slots, nobody.slots]),
        starts=np.concatenate([layout.starts, nobody.starts]),
        counts=np.concatenate([layout.counts, nobody.counts]),
        tables=tables,
    )


def _step_bytes(limits: Limits, table_blocks: int) -> int:
    """Of the largest step: a row has a token, a position and a slot, and may be told; a slice is
    sampled, may be awaited, and has two numbers and a block table."""
    slices = min(limits.max_running, limits.step_tokens)
    padding = 10 * ALIGNMENT_BYTES
    return 4 * 8 * limits.step_tokens + slices * (3 * 8 + 2 * 4 + 4 * table_blocks) + padding
