"""Steps that belong to nobody: every key lies in the null block, so they run over any cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from infra.wire import JobSpec, Sampling
from worker.engine.sampler import SampledRow
from worker.engine.sampling_state import SamplingState
from worker.engine.step_layout import StepLayout
from worker.kernels.sampling import Draw
from worker.scheduling.scheduler import Limits
from worker.scheduling.sequence import Sequence as TokenSequence

MOST_COMPILED_ROWS = 1024
"""Larger steps launch the kernels that a step of this size launches."""
_SAMPLING = Sampling(1, top_p=0.5, repetition_penalty=1.1, logprobs=20)
"""What takes most memory: its rows are sorted, penalised and told."""


def trial_rows(count: int, vocabulary: int, device: torch.device) -> tuple[SampledRow, ...]:
    """How so many tokens are chosen that nobody wants: in the most expensive way."""
    draw = Draw(_SAMPLING.temperature, 0, _SAMPLING.top_p, seed=0, choice=0, index=0)
    job = JobSpec("trial", "", [0], _SAMPLING)
    sequences = [TokenSequence(-1 - number, [0], 1, 2) for number in range(count)]
    states = [SamplingState(each, job, vocabulary, device) for each in sequences]
    return tuple(SampledRow(state, draw, ([0], [])) for state in states)


def trial_step(
    counts: Sequence[int], table_blocks: int, block_tokens: int, choices: Sequence[SampledRow]
) -> StepLayout:
    """A step of slices with these numbers of rows, each the last ones of a sequence that fills its
    block table, or would; each samples."""
    rows = np.array(counts, np.int64)
    starts = np.maximum(table_blocks * block_tokens - rows, 0)
    ends = rows.cumsum()
    nothing = np.zeros(0, np.int64)
    total = int(rows.sum())
    return StepLayout(
        token_ids=np.zeros(total, np.int64),
        positions=np.arange(total) + np.repeat(starts - (ends - rows), rows),
        slots=np.zeros(total, np.int64),
        sampled_rows=ends - 1,
        sampling=tuple(row.sequence_id for row in choices),
        choices=tuple(choices),
        prompts=(),
        awaited_rows=nothing,
        awaited_samples=nothing,
        starts=starts,
        counts=rows,
        tables=np.zeros((len(rows), table_blocks), np.int32),
        block_tables=(),
        fresh_blocks=(),
    )


def largest_step(limits: Limits, table_blocks: int, choices: Sequence[SampledRow]) -> StepLayout:
    """As many rows as a step may have, of as many sequences as there are choices."""
    slices = len(choices)
    share, rest = divmod(limits.step_tokens, slices)
    counts = [share + 1] * rest + [share] * (slices - rest)
    return trial_step(counts, table_blocks, limits.block_tokens, choices)


def varied_steps(
    limits: Limits, table_blocks: int, choices: Sequence[SampledRow]
) -> Iterator[StepLayout]:
    """Steps of one sequence, of many sizes over short and long contexts: how a kernel is launched
    follows from both, and each way is compiled when it is first taken."""
    widths = sorted({min(2**power, table_blocks) for power in range(24)})
    most = min(limits.step_tokens, MOST_COMPILED_ROWS)
    sizes = sorted({min(2**power, most) for power in range(11)})
    for width in widths:
        for rows in sizes:
            if rows <= width * limits.block_tokens:
                yield trial_step([rows], width, limits.block_tokens, choices)
