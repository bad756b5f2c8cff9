"""Our logits beside those of transformers, for the same checkpoint and the same tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from worker.engine.assembly import assemble
from worker.engine.base import EngineSpec
from worker.scheduling.plan import StepResult
from worker.scheduling.scheduler import Scheduler
from worker.scheduling.sequence import Sequence

TOKENS = torch.randint(0, 97, (150,), generator=torch.Generator().manual_seed(7)).tolist()
PREFILL = 141
"""Three chunks of at most 64; the rest are decodes."""


def our_logits(directory: Path, tokens: list[int], prefill: int, **options: Any) -> torch.Tensor:
    """Logits at positions prefill-1 .. end: a prefill, then decodes that are told the tokens."""
    parts = assemble(EngineSpec("replica", directory, {"dtype": "float32", **options}))
    scheduler = Scheduler(parts.limits)
    scheduler.add(Sequence(0, tokens[:prefill], prefill, len(tokens) + 1))
    rows = []
    for token in [*tokens[prefill:], 0]:
        while (plan := scheduler.plan(0.0)) is not None:
            logits = parts.runner.logits(plan)
            if len(logits):
                rows.append(logits[0].cpu())
                scheduler.commit(StepResult({0: [token]}))
                break
            scheduler.commit(StepResult({}))
    return torch.stack(rows)


def judged_logits(directory: Path) -> torch.Tensor:
    """What transformers says of `TOKENS`, at the positions of `our_logits`."""
    from transformers import AutoModelForCausalLM

    with torch.inference_mode():
        judge = AutoModelForCausalLM.from_pretrained(
            directory, dtype=torch.float32, attn_implementation="eager"
        )
        logits: torch.Tensor = judge(torch.tensor([TOKENS])).logits[0, PREFILL - 1 :]
    return logits


def assert_logits_equal(directory: Path, exact: bool = False, imported: Path | None = None) -> None:
    """Chunked prefill and paged decodes against one pass of transformers, in fp32.

    Args:
        imported: what became of the directory, where that is what we run.
    """
    ours = our_logits(
        imported or directory,
        TOKENS,
        PREFILL,
        exact=exact,
        step_token_budget=64,
        kv_cache_tokens=512,
        max_context_tokens=256,
    )
    theirs = judged_logits(directory)
    assert ours.shape == theirs.shape
    assert theirs.std() > 0.5, "logits this flat could not tell a wrong model"
    assert (ours - theirs).abs().max() <= 1e-4
