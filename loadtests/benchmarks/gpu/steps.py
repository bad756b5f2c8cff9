"""Whole steps of the engine: decodes against the bandwidth bound, prefill against the matrix peak.

Everything that a step does is in the figures: planning, the copy of its inputs, the forward pass,
sampling, and the way of its tokens back to the host.
"""

from __future__ import annotations

import time
from random import Random
from statistics import fmean

from infra.wire import FinishReason, JobSpec, Sampling
from loadtests.benchmarks.gpu.random_llama import RandomLlama
from loadtests.benchmarks.gpu.size import Size
from loadtests.benchmarks.report import Row, row
from worker.engine.torch_engine import TorchEngine

WARM_UP_STEPS = 6
DECODE_GOALS = {1: 0.8, 256: 0.6}
PREFILL_GOAL = 0.6


class StepsFailed(RuntimeError):
    """The engine gave something else than what was asked for: a figure would mean nothing."""


def decode_row(llama: RandomLlama, size: Size, batch: int, copy_rate: float) -> Row:
    """Output tokens a second of `batch` sequences, against what reading weights and keys allows."""
    found: list[float] = []
    bounds: list[float] = []
    for number in range(size.rounds):
        step_s, context = _decode(llama, size, batch, seed=number)
        found.append(batch / step_s)
        step_bytes = llama.weight_bytes + batch * context * llama.token_bytes
        bounds.append(batch * copy_rate / step_bytes)
    name = f"decode.{size.model_name}.{batch}_sequences.vs_bandwidth"
    return row(name, found, "tok/s", bounds, DECODE_GOALS.get(batch))


def prefill_row(llama: RandomLlama, size: Size, peak_flops: float) -> Row:
    """Floating-point operations a second of prompts that arrive at once."""
    prompts, tokens = size.prefill
    shape = size.config
    heads = shape["num_hidden_layers"] * shape["hidden_size"]
    flops = 2 * prompts * (llama.matrix_elements * tokens + llama.head_elements + heads * tokens**2)
    seconds = [_prefill(llama, prompts, tokens, seed) for seed in range(size.rounds + 1)][1:]
    name = f"prefill.{size.model_name}.{prompts}x{tokens}.vs_matrix_peak"
    rates = [flops / each / 1e12 for each in seconds]
    return row(name, rates, "TFLOP/s", [peak_flops / 1e12], PREFILL_GOAL)


def _decode(llama: RandomLlama, size: Size, batch: int, seed: int) -> tuple[float, float]:
    """Seconds of a step, and the mean context of a sequence meanwhile."""
    engine = TorchEngine(llama.assembly)
    longest = WARM_UP_STEPS + size.decode_steps + _spread(batch, size)
    _submit(engine, llama, batch, size.context_tokens, 2 * longest, seed)
    counts: dict[str, int] = {}
    while len(counts) < batch:
        _take(engine, counts)
    for _ in range(WARM_UP_STEPS):
        _take(engine, counts)
    before = fmean(counts.values())
    began = time.perf_counter()
    for _ in range(size.decode_steps):
        if _take(engine, counts) != batch:
            raise StepsFailed(f"a step of {batch} sequences did not give a token for each")
    step_s = (time.perf_counter() - began) / size.decode_steps
    for job_id in counts:
        engine.cancel(job_id)
    engine.close()
    return step_s, size.context_tokens + before + size.decode_steps / 2


def _spread(batch: int, size: Size) -> int:
    """Steps that the first prompt decodes while the last ones are computed."""
    return -(-batch * size.context_tokens // (size.step_token_budget - batch)) + 2


def _prefill(llama: RandomLlama, prompts: int, tokens: int, seed: int) -> float:
    engine = TorchEngine(llama.assembly)
    _submit(engine, llama, prompts, tokens, 1, seed)
    counts: dict[str, int] = {}
    began = time.perf_counter()
    while len(counts) < prompts:
        _take(engine, counts)
    seconds = time.perf_counter() - began
    engine.close()
    return seconds


def _submit(
    engine: TorchEngine, llama: RandomLlama, count: int, tokens: int, output: int, seed: int
) -> None:
    random = Random(f"{count}/{tokens}/{seed}")
    sampling = Sampling(output, temperature=0.0, ignore_eos=True)
    for number in range(count):
        prompt = random.choices(range(llama.assembly.vocabulary), k=tokens)
        refusal = engine.submit(JobSpec(f"job-{number}", "bench", prompt, sampling), 1)
        if refusal is not None:
            raise StepsFailed(f"the engine refused a job: {refusal.error}")


def _take(engine: TorchEngine, counts: dict[str, int]) -> int:
    """Run one step; returns how many tokens it gave."""
    tokens = 0
    for event in engine.step():
        if event.finish is FinishReason.ERROR:
            raise StepsFailed(event.error)
        tokens += len(event.tokens)
        counts[event.job_id] = counts.get(event.job_id, 0) + len(event.tokens)
    return tokens
