"""A step takes no more memory than was asked for before the engine started."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from infra.wire import JobSpec, Sampling
from tests.fixtures.tiny_llama import TinyLlama
from worker.engine.base import EngineSpec
from worker.engine.step_memory import step_bytes
from worker.engine.torch_engine import TorchEngine, assemble
from worker.models.base import Placement
from worker.models.registry import builder_of, read_json

ROWS, JOBS = 512, 8


@pytest.fixture(scope="module")
def directory(tiny_llama: TinyLlama) -> Path:
    return tiny_llama(hidden_size=96, intermediate_size=512, num_hidden_layers=3)


def test_a_full_step_stays_within_the_estimate(directory: Path) -> None:
    options = {"dtype": "float32", "max_running": JOBS, "step_token_budget": ROWS}
    engine = TorchEngine(assemble(EngineSpec("replica", directory, options)))
    sampling = Sampling(max_tokens=1, temperature=1.0, top_p=0.9, top_k=20)
    for number in range(JOBS):
        engine.submit(JobSpec(f"job-{number}", "q", [number] * (ROWS // JOBS), sampling), 1)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        assert len(engine.step()) == JOBS
    events = [each for each in seen.profiler.kineto_results.events() if each.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda each: each.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    model = builder_of(read_json(directory / "config.json"))
    placement = Placement(torch.float32, torch.device("meta"), max_positions=1)
    shape = model(read_json(directory / "config.json"), placement).shape
    assert 0 < peak <= step_bytes(shape, ROWS, JOBS), (peak, step_bytes(shape, ROWS, JOBS))
