"""Jumping over steps in which nothing happens but one more token for everybody (for simulation)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from collections.abc import Sequence as Seq

from worker.scheduling.scheduler import Scheduler
from worker.scheduling.sequence import Sequence


def steady_steps(scheduler: Scheduler) -> int:
    """How many next steps are certain to be alike: everybody who runs decodes one token, and nobody
    starts, ends or is preempted. A stop token would break that: only the caller knows of those."""
    running = scheduler.running
    full = len(running) == scheduler.limits.max_running
    if scheduler.outstanding or not running or (scheduler.waiting and not full):
        return 0
    if any(each.pending_tokens != 1 for each in running):
        return 0
    steps = min(each.limit_tokens - len(each.tokens) for each in running) - 1
    # The longest such number whose blocks are there, found bit by bit.
    possible = 0
    for bit in reversed(range(steps.bit_length())):
        more = possible + (1 << bit)
        if more <= steps and _new_blocks(scheduler, more) <= scheduler.blocks.free_blocks:
            possible = more
    return possible


def advance(scheduler: Scheduler, sampled: Mapping[int, Seq[int]]) -> None:
    """Do what that many single steps would, in the order in which they would.

    Blocks change hands a few times in a block's length, so that is all that is replayed.

    Args:
        sampled: by sequence id, the tokens of everybody who runs: one for each step.

    Raises:
        ValueError: the steps are not alike (ask `steady_steps`), or a token ends a sequence.
    """
    [steps] = {len(sampled[each.sequence_id]) for each in scheduler.running}
    if steps > steady_steps(scheduler):
        raise ValueError(f"{steps} steps would not be alike")
    if any(
        not each.stop_tokens.isdisjoint(sampled[each.sequence_id]) for each in scheduler.running
    ):
        raise ValueError("a stop token ends a sequence: step over it")
    block_tokens = scheduler.limits.block_tokens
    lengths = {each.sequence_id: len(each.tokens) for each in scheduler.running}
    by_offset: dict[int, list[Sequence]] = defaultdict(list)
    for sequence in scheduler.running:
        by_offset[len(sequence.tokens) % block_tokens].append(sequence)
        sequence.tokens += sampled[sequence.sequence_id]
    for step in range(steps):
        # A block is begun by the token behind a full one, and full when that is committed.
        beginning = by_offset[(1 - step) % block_tokens]
        ending = by_offset[-step % block_tokens]
        for sequence in scheduler.running if step == 0 else beginning:
            scheduler.blocks.grow(sequence, lengths[sequence.sequence_id] + step)
        for sequence in scheduler.running if step == 0 else ending:
            sequence.proven_tokens = lengths[sequence.sequence_id] + step
            scheduler.blocks.share(sequence)
    for sequence in scheduler.running:
        sequence.computed_tokens = sequence.proven_tokens = len(sequence.tokens) - 1


def _new_blocks(scheduler: Scheduler, steps: int) -> int:
    """Blocks that are handed out in so many steps."""
    return sum(
        scheduler.blocks.missing(each, len(each.tokens) + steps - 1) for each in scheduler.running
    )
