"""The plain loop and the overlapped ones give the same tokens, whatever happens between steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from infra.wire import FinishReason, JobSpec, Sampling
from tests.fixtures.tiny_llama import TinyLlama
from worker.engine.assembly import Assembly, assemble
from worker.engine.base import EngineSpec
from worker.engine.loop import Loop, OverlappedLoop, PlainLoop, StepRunner
from worker.engine.runner import Launched
from worker.engine.step_layout import StepLayout
from worker.engine.torch_engine import TorchEngine
from worker.scheduling.plan import Plan, StepResult
from worker.scheduling.scheduler import Scheduler

POISON = 50
"""A token whose embedding is not a number."""
OPTIONS = {
    "exact": True,
    "dtype": "float32",
    "max_context_tokens": 40,
    "max_running": 4,
    "step_token_budget": 11,
    "kv_cache_tokens": 64,
    "block_tokens": 4,
}

MakeLoop = Callable[[Scheduler], Loop]


@pytest.fixture(scope="module")
def assembly(tiny_llama: TinyLlama) -> Assembly:
    directory = tiny_llama(num_hidden_layers=1)
    _poison(directory)
    return assemble(EngineSpec("replica", directory, OPTIONS))


def _poison(directory: Path) -> None:
    weights = load_file(directory / "model.safetensors")
    weights["model.embed_tokens.weight"][POISON] = torch.nan
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})


@dataclass(frozen=True)
class Arrival:
    step: int
    prompt: tuple[int, ...]
    sampling: Sampling
    cancelled_after: int | None = None
    """Steps after its arrival."""


def run(assembly: Assembly, loop: MakeLoop, arrivals: list[Arrival]) -> list[tuple[str, list[int]]]:
    """How each ended (an error, a finish reason, or nothing), and its tokens."""
    engine = TorchEngine(replace(assembly, loop=loop))
    tokens: list[list[int]] = [[] for _ in arrivals]
    endings = ["" for _ in arrivals]
    for step in range(600):
        for number, arrival in enumerate(arrivals):
            if arrival.step == step:
                job = JobSpec(str(number), "request", list(arrival.prompt), arrival.sampling)
                assert engine.submit(job, 1) is None
            after = arrival.cancelled_after
            if after is not None and step == arrival.step + after:
                engine.cancel(str(number))
        for event in engine.step():
            number = int(event.job_id)
            assert not endings[number], "an event after the last one"
            assert event.index == len(tokens[number])
            tokens[number] += event.tokens
            endings[number] = event.error or (event.finish or "")
    assert engine.stats().kv_tokens_used == 0, "not everything ended, or a block leaked"
    assert engine.expected_step_s() == 0, "an idle engine has a step outstanding"
    engine.close()
    return list(zip(endings, tokens, strict=True))


def plain(assembly: Assembly) -> MakeLoop:
    return partial(PlainLoop, runner=assembly.runner)


def overlapped(assembly: Assembly, threaded: bool) -> MakeLoop:
    return partial(OverlappedLoop, runner=assembly.runner, threaded=threaded)


SAMPLINGS = st.builds(
    Sampling,
    max_tokens=st.integers(1, 24),
    temperature=st.sampled_from([0.0, 1.0, 2.5]),
    seed=st.integers(0, 3),
    top_p=st.sampled_from([1.0, 0.9]),
    stop_token_ids=st.sampled_from([(), (7,), tuple(range(30))]),
    ignore_eos=st.booleans(),
)
ARRIVALS = st.builds(
    Arrival,
    step=st.integers(0, 25),
    prompt=st.lists(st.sampled_from([3, 9, 60, 71, POISON, 80, 96]), min_size=1, max_size=15).map(
        tuple
    ),
    sampling=SAMPLINGS,
    cancelled_after=st.none() | st.integers(0, 20),
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(arrivals=st.lists(ARRIVALS, min_size=1, max_size=7), threaded=st.booleans())
def test_both_loops_give_the_same_tokens(
    assembly: Assembly, arrivals: list[Arrival], threaded: bool
) -> None:
    expected = run(assembly, plain(assembly), arrivals)
    found = run(assembly, overlapped(assembly, threaded), arrivals)
    for arrival, mine, its in zip(arrivals, found, expected, strict=True):
        if arrival.cancelled_after is None:
            assert mine == its
        else:
            # A cancel comes after more or fewer tokens: their steps are not the same ones.
            shorter = min(len(mine[1]), len(its[1]))
            assert mine[1][:shorter] == its[1][:shorter]


def crowd() -> list[Arrival]:
    """More than fits, with stops, seeds and a failure on the way."""
    return [
        Arrival(0, (3,) * 12, Sampling(20, temperature=1.0, seed=1, ignore_eos=True)),
        Arrival(0, (60, 9), Sampling(24, temperature=2.5, seed=2, stop_token_ids=(7, 8, 9))),
        Arrival(1, (80,) * 14, Sampling(24, temperature=0.0, ignore_eos=True)),
        Arrival(4, (71, POISON), Sampling(5)),
        Arrival(6, (96,) * 9, Sampling(20, temperature=1.5, seed=4, ignore_eos=True)),
    ]


class Recorded:
    """A runner that notes what was planned, launched and waited for."""

    def __init__(self, runner: StepRunner, broken: bool = False) -> None:
        self._runner = runner
        self._broken = broken
        self.launched = 0
        self.most_ahead = 0
        self.waited = 0
        self.restarts = 0
        self._begun: set[int] = set()

    def prepare(self, plan: Plan) -> StepLayout:
        first = {part.sequence.sequence_id for part in plan.slices if part.start == 0}
        self.restarts += len(first & self._begun)
        self._begun |= first
        return self._runner.prepare(plan)

    def launch(self, layout: StepLayout) -> Noted:
        if self._broken:
            raise MemoryError("the step broke")
        self.launched += 1
        self.most_ahead = max(self.most_ahead, self.launched - self.waited)
        launched = self._runner.launch(layout)
        assert isinstance(launched, Launched)
        return Noted(self, launched)


@dataclass
class Noted:
    runner: Recorded
    launched: Launched

    def result(self) -> StepResult:
        self.runner.waited += 1
        return self.launched.result()


@pytest.mark.parametrize("threaded", [True, False])
def test_a_crowd_with_preemption_and_a_failure(assembly: Assembly, threaded: bool) -> None:
    expected = run(assembly, plain(assembly), crowd())
    runner = Recorded(assembly.runner)
    loop = partial(OverlappedLoop, runner=runner, threaded=threaded)
    assert run(assembly, loop, crowd()) == expected
    assert runner.restarts, "nothing was preempted: the test proves nothing"
    assert "not finite" in expected[3][0]
    assert {ending for ending, _ in expected} >= {FinishReason.LENGTH}


def test_the_overlapped_loop_has_the_next_step_launched_before_it_waits(
    assembly: Assembly,
) -> None:
    arrivals = [Arrival(0, (3, 9), Sampling(10, temperature=0.0, ignore_eos=True))]
    ahead = []
    for make in (PlainLoop, partial(OverlappedLoop, threaded=False)):
        runner = Recorded(assembly.runner)
        run(assembly, partial(make, runner=runner), arrivals)
        assert runner.launched == runner.waited, "a step was never waited for"
        ahead.append(runner.most_ahead)
    assert ahead == [1, 2]


@pytest.mark.parametrize("threaded", [True, False])
def test_what_breaks_a_step_is_raised_by_the_engines_step(
    assembly: Assembly, threaded: bool
) -> None:
    runner = Recorded(assembly.runner, broken=True)
    loop = partial(OverlappedLoop, runner=runner, threaded=threaded)
    engine = TorchEngine(replace(assembly, loop=loop))
    engine.submit(JobSpec("a", "request", [3], Sampling(4)), 1)
    with pytest.raises(MemoryError, match="the step broke"):
        engine.step()
    engine.close()


def test_a_stop_that_ends_the_last_job_leaves_nothing_outstanding(assembly: Assembly) -> None:
    engine = TorchEngine(replace(assembly, loop=overlapped(assembly, True)))
    everything = tuple(range(97))
    engine.submit(JobSpec("a", "request", [3, 9], Sampling(20, stop_token_ids=everything)), 1)
    [event] = engine.step()
    assert event.finish is FinishReason.STOP
    assert engine.expected_step_s() == 0
    engine.close()


def test_cancelling_the_last_job_leaves_nothing_outstanding(assembly: Assembly) -> None:
    engine = TorchEngine(replace(assembly, loop=overlapped(assembly, True)))
    engine.submit(JobSpec("a", "request", [3, 9], Sampling(20, ignore_eos=True)), 1)
    engine.step()
    assert engine.expected_step_s() > 0
    engine.cancel("a")
    assert engine.expected_step_s() == 0
    assert engine.step() == []
    engine.close()
