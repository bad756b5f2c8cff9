"""Exact mode: a sequence's logits are the same bits whatever runs beside it, and however."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.fixtures.tiny_decoder import TinyDecoder
from tests.fixtures.tiny_llama import TinyLlama
from worker.engine.assembly import assemble
from worker.engine.base import EngineSpec
from worker.scheduling.plan import StepResult
from worker.scheduling.preemption import PreemptionCosts
from worker.scheduling.scheduler import Scheduler
from worker.scheduling.sequence import Sequence

OUTPUT = 12
PROMPT = [(7 * i + i * i) % 97 for i in range(41)]
NEIGHBOURS = [[(k * i + 3) % 97 for i in range(5 + 9 * k)] for k in range(1, 8)]


@pytest.fixture(scope="module", params=["float32", "bfloat16", "int8"])
def dtype(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def directory(tiny_llama: TinyLlama) -> Path:
    return tiny_llama(hidden_size=72, intermediate_size=200, num_key_value_heads=3)


class Run:
    """Greedy output of the watched sequence (id 0) and the logits behind every token."""

    def __init__(
        self,
        directory: Path,
        dtype: str,
        others: list[list[int]] | None = None,
        delivered: list[int] | None = None,
        swap: bool = False,
        before: list[list[int]] | None = None,
        **options: Any,
    ) -> None:
        """`before` has run when the watched sequence comes."""
        kind = {"quantization": "int8"} if dtype == "int8" else {"dtype": dtype}
        options = {"exact": True, "max_running": 8, **kind, **options}
        options.setdefault("kv_cache_tokens", 2048)
        self.parts = assemble(EngineSpec("replica", directory, options))
        self.scheduler = Scheduler(self.parts.limits)
        self.scheduler.host.costs = PreemptionCosts(block_copy_s=0.0, token_s=float(swap))
        self.swaps = 0
        for number, prompt in enumerate(before or [], start=100):
            self.scheduler.add(Sequence(-number, list(prompt), len(prompt), len(prompt) + 8))
        self.logits: list[torch.Tensor] = []
        while self.scheduler.waiting or self.scheduler.running:
            self.step()
        tokens = PROMPT + (delivered or [])
        self.watched = Sequence(0, tokens, len(PROMPT), len(PROMPT) + OUTPUT)
        # Older neighbours: they are decoding when the watched sequence comes, and outlive it.
        for number, prompt in enumerate(others or [], start=1):
            self.scheduler.add(Sequence(-number, list(prompt), len(prompt), len(prompt) + 60))
        if others:
            self.step()
        self.scheduler.add(self.watched)
        while not self.watched.finished:
            self.step()

    def step(self) -> None:
        plan = self.scheduler.plan(0.0)
        assert plan is not None
        logits = self.parts.runner.logits(plan)
        sampling = [part.sequence.sequence_id for part in plan.slices if part.samples]
        if 0 in sampling:
            self.logits.append(logits[sampling.index(0)])
        self.swaps += len(plan.swap_in)
        tokens = logits.argmax(dim=-1).tolist()
        self.scheduler.commit(
            StepResult({each: [token] for each, token in zip(sampling, tokens, strict=True)})
        )

    @property
    def output(self) -> list[int]:
        return self.watched.tokens[len(PROMPT) :]


@pytest.fixture(scope="module")
def alone(directory: Path, dtype: str) -> Run:
    return Run(directory, dtype)


def assert_same_bits(run: Run, alone: Run) -> None:
    assert run.output == alone.output
    expected = alone.logits[-len(run.logits) :]
    assert all(torch.equal(mine, its) for mine, its in zip(run.logits, expected, strict=True))


def test_among_seven_others(directory: Path, dtype: str, alone: Run) -> None:
    assert len(alone.logits) == OUTPUT
    assert_same_bits(Run(directory, dtype, NEIGHBOURS), alone)


def test_among_thirty_one_others(directory: Path, dtype: str, alone: Run) -> None:
    crowd = [[(k * i + 5) % 97 for i in range(3 + k)] for k in range(1, 32)]
    assert_same_bits(Run(directory, dtype, crowd, max_running=32, kv_cache_tokens=4096), alone)


@pytest.mark.parametrize(
    ("family", "shape"),
    [
        ("Qwen3Moe", {"num_experts": 5, "num_experts_per_tok": 3, "moe_intermediate_size": 40}),
        ("Gemma3Text", {"sliding_window": 11, "layer_types": ["sliding_attention"] * 2}),
        ("Qwen2", {}),
    ],
)
def test_of_other_families_in_chunks_among_seven_others(
    tiny_decoder: TinyDecoder, dtype: str, family: str, shape: dict[str, Any]
) -> None:
    directory = tiny_decoder(family, **shape)
    undisturbed = Run(directory, dtype)
    assert_same_bits(Run(directory, dtype, NEIGHBOURS, step_token_budget=19), undisturbed)


@pytest.mark.parametrize("budget", [8, 13, 40])
def test_with_its_prefill_in_chunks(directory: Path, dtype: str, alone: Run, budget: int) -> None:
    assert_same_bits(Run(directory, dtype, step_token_budget=budget), alone)


def test_in_chunks_among_seven_others(directory: Path, dtype: str, alone: Run) -> None:
    assert_same_bits(Run(directory, dtype, NEIGHBOURS, step_token_budget=19), alone)


def test_resumed_from_what_was_delivered(directory: Path, dtype: str, alone: Run) -> None:
    for count in (1, 6, OUTPUT - 1):
        run = Run(directory, dtype, NEIGHBOURS, delivered=alone.output[:count])
        assert len(run.logits) == OUTPUT - count
        assert_same_bits(run, alone)


def test_after_preemption_and_recompute(directory: Path, dtype: str, alone: Run) -> None:
    long_ago = [[5] * 30, [9] * 30]
    run = Run(
        directory,
        dtype,
        long_ago,
        kv_cache_tokens=128,
        block_tokens=4,
        max_context_tokens=100,
    )
    assert run.scheduler.preemptions, "nothing was preempted: the test proves nothing"
    assert_same_bits(run, alone)


def test_after_preemption_and_swap(directory: Path, dtype: str, alone: Run) -> None:
    run = Run(
        directory,
        dtype,
        [[5] * 30, [9] * 30],
        swap=True,
        swap_bytes=1 << 20,
        kv_cache_tokens=128,
        block_tokens=4,
        max_context_tokens=100,
    )
    assert run.swaps, "nothing came back: the test proves nothing"
    assert_same_bits(run, alone)


def test_with_its_prefix_from_the_cache(directory: Path, dtype: str, alone: Run) -> None:
    cached = [*PROMPT[:32], 1, 2, 3]
    run = Run(directory, dtype, NEIGHBOURS, before=[cached])
    assert run.scheduler.prefix_hit_tokens >= 32
    assert_same_bits(run, alone)


def test_all_of_its_output_from_the_cache(directory: Path, dtype: str, alone: Run) -> None:
    whole = PROMPT + alone.output
    run = Run(directory, dtype, before=[whole], delivered=alone.output[:-1])
    assert run.scheduler.prefix_hit_tokens == 48
    assert_same_bits(run, alone)


def test_with_blocks_of_another_size(directory: Path, dtype: str, alone: Run) -> None:
    assert_same_bits(Run(directory, dtype, block_tokens=5), alone)


@pytest.mark.parametrize("kv_cache_dtype", ["int8", "fp8"])
def test_from_a_coded_cache_in_chunks_among_seven_others(
    directory: Path, dtype: str, kv_cache_dtype: str
) -> None:
    undisturbed = Run(directory, dtype, kv_cache_dtype=kv_cache_dtype)
    run = Run(directory, dtype, NEIGHBOURS, step_token_budget=19, kv_cache_dtype=kv_cache_dtype)
    assert_same_bits(run, undisturbed)
