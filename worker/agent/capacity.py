"""How much more work a replica should lease: what its engine can start soon (pure)."""

from __future__ import annotations

from typing import NamedTuple

from worker.engine.messages import Stats

_MARGIN_SHARE = 8
UNLIMITED_TOKENS = 1 << 40


class Capacity(NamedTuple):
    jobs: int
    tokens: int


def free_capacity(stats: Stats, held_jobs: int, unstarted_tokens: int) -> Capacity:
    """Free slots and a small margin, so that a slot that becomes free finds its next job there;
    KV tokens that neither running jobs use nor those that were just handed over will use."""
    margin = max(1, stats.max_running // _MARGIN_SHARE)
    jobs = max(0, max(1, stats.max_running) + margin - held_jobs)
    if stats.kv_tokens_total <= 0:
        return Capacity(jobs, UNLIMITED_TOKENS)
    free = stats.kv_tokens_total - stats.kv_tokens_used - unstarted_tokens
    return Capacity(jobs, max(0, free))
