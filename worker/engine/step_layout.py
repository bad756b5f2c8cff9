"""The rows of a step as plain arrays: made when it is planned, before its tokens are all known."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from worker.engine.sampler import PromptRows, SampledRow, Sampler
from worker.scheduling.block_manager import NULL_BLOCK
from worker.scheduling.plan import Plan

Integers: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class StepLayout:
    """Everything here was read from the plan at once, so that sequences may change before it runs.

    `rows` of all slices lie one after the other, in the order of the plan.
    """

    token_ids: Integers
    """[rows]; 0 where the token is awaited."""
    positions: Integers
    """[rows]."""
    slots: Integers
    """[rows]: block x block_tokens + offset."""
    sampled_rows: Integers
    """[samples]: the last row of each slice that samples."""
    sampling: tuple[int, ...]
    """[samples] ids of their sequences."""
    choices: tuple[SampledRow, ...]
    """[samples]: how each token is chosen; empty where nobody said."""
    prompts: tuple[PromptRows, ...]
    """Rows of prompts whose log-probabilities are told."""
    awaited_rows: Integers
    """[awaited]: rows whose token the step before this one samples."""
    awaited_samples: Integers
    """[awaited]: which of its samples."""
    starts: Integers
    """[slices]: position of each first row."""
    counts: Integers
    """[slices]: rows of each."""
    tables: NDArray[np.int32]
    """[slices, blocks], padded with the null block."""
    block_tables: tuple[tuple[int, ...], ...]
    """[slices]: the same, each as long as it is."""
    fresh_blocks: tuple[int, ...]
    swap_out: tuple[tuple[int, int], ...] = ()
    """See `Plan`."""
    swap_in: tuple[tuple[int, int], ...] = ()

    @property
    def rows(self) -> int:
        return len(self.token_ids)

    @property
    def decodes_only(self) -> bool:
        """Whether each slice is one row that samples."""
        return self.rows == len(self.counts) == len(self.sampled_rows)

    @property
    def told_rows(self) -> Integers:
        """[rows]: those of `prompts`."""
        parts = [np.arange(part.first_row, part.first_row + part.rows) for part in self.prompts]
        return np.concatenate([np.empty(0, np.int64), *parts])

    @property
    def parts(self) -> list[tuple[int, int, tuple[int, ...]]]:
        """(start, rows, block table) of each slice."""
        return [
            (int(start), int(count), table)
            for start, count, table in zip(self.starts, self.counts, self.block_tables, strict=True)
        ]


def lay_out(
    plan: Plan,
    block_tokens: int,
    before: tuple[int, ...] = (),
    sampler: Sampler | None = None,
) -> StepLayout:
    """Lay out a plan.

    Args:
        before: sequence ids that the step before this one samples, in their order there.
        sampler: says how each token is chosen.
    """
    starts = np.array([part.start for part in plan.slices], np.int64)
    counts = np.array([part.count for part in plan.slices], np.int64)
    ends = counts.cumsum()
    positions = np.arange(counts.sum()) + np.repeat(starts - (ends - counts), counts)
    held = [
        part.block_table[: -(-(part.start + part.count) // block_tokens)] for part in plan.slices
    ]
    tables = _padded(held)
    blocks = tables[np.repeat(np.arange(len(counts)), counts), positions // block_tokens]
    token_ids: list[int] = []
    awaited: list[tuple[int, int]] = []
    for part in plan.slices:
        known = part.sequence.tokens[part.start : part.start + part.count]
        token_ids += known
        if len(known) < part.count:
            awaited.append((len(token_ids), before.index(part.sequence.sequence_id)))
            token_ids.append(0)
    sampling = [part for part in plan.slices if part.samples]
    return StepLayout(
        token_ids=np.array(token_ids, np.int64),
        positions=positions,
        slots=blocks.astype(np.int64) * block_tokens + positions % block_tokens,
        sampled_rows=ends[[part.samples for part in plan.slices]] - 1,
        sampling=tuple(part.sequence.sequence_id for part in sampling),
        choices=sampler.prepare(plan) if sampler is not None else (),
        prompts=sampler.prompt_rows(plan) if sampler is not None else (),
        awaited_rows=np.array([row for row, _ in awaited], np.int64),
        awaited_samples=np.array([sample for _, sample in awaited], np.int64),
        starts=starts,
        counts=counts,
        tables=tables,
        block_tables=tuple(held),
        fresh_blocks=plan.fresh_blocks,
        swap_out=plan.swap_out,
        swap_in=plan.swap_in,
    )


def _padded(tables: list[tuple[int, ...]]) -> NDArray[np.int32]:
    """[tables, longest]. All at once: row by row it would take most of the time of a layout."""
    lengths = np.array([len(table) for table in tables], np.int64)
    longest = int(lengths.max(initial=0))
    padded = np.full((len(tables), longest), NULL_BLOCK, np.int32)
    blocks = np.fromiter(chain.from_iterable(tables), np.int32, count=int(lengths.sum()))
    padded[np.arange(longest) < lengths[:, None]] = blocks
    return padded
