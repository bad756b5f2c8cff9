"""Our engine: `TorchEngine` stepped in a bare loop, as its process steps it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.wire import FinishReason, JobSpec, Sampling
from loadtests.benchmarks.arms.answering import Answer, CannotRun, Commands, answer
from loadtests.benchmarks.engine.wave import Prompts
from worker.engine.base import Engine, EngineSpec
from worker.engine.options import Options

_LONG_JOB = "long"
_FORMATS = {"float32": "fp32", "bfloat16": "bf16"}


def load(settings: dict[str, Any]) -> tuple[Answer, Commands]:
    threads, options = settings["threads"], settings["options"]
    for name in options:
        if name not in Options.__struct_fields__:
            raise CannotRun(f"this engine has no option {name!r}")
    # Before a numeric library is imported, as the engine's own process does it.
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    import torch

    from loadtests.benchmarks.engine_arm import drive
    from worker.engine.torch_engine import build

    engine = build(EngineSpec("in-process", Path(settings["model"]), options, threads))

    def generate(prompts: Prompts, max_tokens: int) -> Answer:
        return {"tokens_per_s": drive(engine, prompts, max_tokens)}

    def first_tokens(prompts: Prompts) -> Answer:
        return {"seconds": first_token_s(engine, prompts)}

    def gaps(prompts: Prompts, long_prompt: list[int]) -> Answer:
        return {"seconds": gaps_s(engine, prompts, long_prompt)}

    def score(tokens: list[int]) -> Answer:
        return {"negative_log_likelihood": negative_log_likelihood(engine, tokens)}

    facts = {
        "version": f"torch {torch.__version__}",
        "format": _format(options),
        "mode": "exact" if options.get("exact") else "its defaults",
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }
    commands: Commands = {
        "generate": generate,
        "score": score,
        "first_tokens": first_tokens,
        "gaps": gaps,
    }
    return facts, commands


def _format(options: Mapping[str, Any]) -> str:
    """Of the weights, where the options name it."""
    if options.get("quantization") == "int8":
        return "int8"
    return _FORMATS.get(options.get("dtype", ""), "its default")


def negative_log_likelihood(engine: Engine, tokens: list[int]) -> float:
    """Of all tokens but the first, each given those before it; in nats."""
    sampling = Sampling(max_tokens=1, temperature=0.0, ignore_eos=True, prompt_logprobs=0)
    _submit(engine, JobSpec("scored", "score", tokens, sampling))
    found: list[float] = []
    ended = False
    while not ended:
        for event in _step(engine):
            found += [each.logprob for each in event.prompt_logprobs if each is not None]
            ended = event.finish is not None
    if len(found) != len(tokens) - 1:
        raise CannotRun("this engine does not tell the probabilities of a prompt")
    return -sum(found)


def first_token_s(engine: Engine, prompts: Prompts) -> list[float]:
    """Seconds from submission to the first token of each prompt, one after the other."""
    sampling = Sampling(max_tokens=1, temperature=0.0, ignore_eos=True)
    found = []
    for number, prompt in enumerate(prompts):
        began = time.perf_counter()
        _submit(engine, JobSpec(f"job-{number}", "first", list(prompt), sampling))
        while not any(event.finish for event in _step(engine)):
            pass
        found.append(time.perf_counter() - began)
    return found


def gaps_s(engine: Engine, prompts: Prompts, long_prompt: list[int]) -> list[float]:
    """Seconds between tokens of running streams while a long prompt is on its way.

    Each prompt runs until the long one, which arrives when all have begun, has given its first
    token; every gap that ends within that time counts, however much of it lies before.
    """
    endless = Sampling(max_tokens=len(long_prompt), temperature=0.0, ignore_eos=True)
    spoke: dict[str, float] = {}
    for number, prompt in enumerate(prompts):
        _submit(engine, JobSpec(f"job-{number}", "gaps", list(prompt), endless))
    while len(spoke) < len(prompts):
        spoke |= {event.job_id: time.perf_counter() for event in _step(engine) if event.tokens}
    once = Sampling(max_tokens=1, temperature=0.0, ignore_eos=True)
    _submit(engine, JobSpec(_LONG_JOB, "gaps", long_prompt, once))
    found, arriving = [], True
    while arriving:
        events = _step(engine)
        now = time.perf_counter()
        for event in events:
            if event.job_id == _LONG_JOB:
                arriving = False
            else:
                found.append(now - spoke[event.job_id])
                spoke[event.job_id] = now
    for job_id in spoke:
        engine.cancel(job_id)
    return found


def _submit(engine: Engine, job: JobSpec) -> None:
    refusal = engine.submit(job, 1)
    if refusal is not None:
        raise CannotRun(f"the engine refused a job: {refusal.error}")


def _step(engine: Engine) -> list[Any]:
    events = engine.step()
    for event in events:
        if event.finish is FinishReason.ERROR:
            raise CannotRun(event.error)
    return events


if __name__ == "__main__":
    answer(load)
