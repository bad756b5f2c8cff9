"""The torch engine: submit jobs, then plan, run and commit one step at a time."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from uuid import uuid4

import torch

from infra.wire import FinishReason, JobSpec, Sampling, TokenEvent
from worker.engine.admission import Unrunnable, check_job, sequence_of
from worker.engine.assembly import Assembly, assemble, compiles_kernels
from worker.engine.base import Engine, EngineSpec
from worker.engine.grammar.compilation import Compilations, Compiled
from worker.engine.grammar.matcher import Matcher
from worker.engine.loading import report_loading
from worker.engine.messages import Stats
from worker.engine.rehearsal import QUANTIZATIONS, miniature, pays
from worker.engine.sleep import HostedWeights
from worker.engine.step_sampling import StepSampling
from worker.engine.step_times import StepTimes
from worker.scheduling.plan import Outcome, StepResult
from worker.scheduling.preemption import PreemptionCosts
from worker.scheduling.scheduler import Scheduler
from worker.scheduling.sequence import Sequence

WARM_UP_TOKENS = 32
NEAR_S = 1.0
"""Jobs are taken while weights are still expected to come for so long: longer, and another replica
might have begun with them before."""
_COMPILING_WAIT_S = 0.01
"""How long a step without work waits for a grammar that is being compiled."""


def build(spec: EngineSpec) -> Engine:
    """The entry point `torch`.

    Raises:
        EngineError: the options, the model's files or the memory do not allow it.
    """
    first_start = compiles_kernels(spec)
    engine = TorchEngine(assemble(spec))
    report_loading("compiling kernels, once on this machine" if first_start else "warm-up")
    engine.warm_up()
    engine.await_weights()
    return engine


def stand_by() -> None:
    """Make a process ready for a model that is not known yet; its imports are done by now."""
    if pays():
        for quantization in QUANTIZATIONS:
            engine = TorchEngine(miniature(quantization))
            engine.warm_up()
            engine.close()


class TorchEngine:
    def __init__(self, assembly: Assembly) -> None:
        self._begin(assembly)
        self._slumber: _Slumber | None = None
        self._compilations = Compilations(assembly.grammars)
        self._jobs: dict[int, JobSpec] = {}
        self._attempts: dict[int, int] = {}
        self._sequences: dict[str, Sequence] = {}
        self._arrivals = 0
        self._step_times = StepTimes()
        self._samples = StepSampling()
        self._steps = 0
        self._output_tokens = 0

    def _begin(self, assembly: Assembly) -> None:
        self._assembly = assembly
        self._scheduler = Scheduler(assembly.limits)
        self._loop = assembly.loop(self._scheduler)

    def sleep(self) -> None:
        """See `SleepingEngine`. Cached prefixes are forgotten."""
        for job_id in [*self._sequences, *self._compilations.jobs]:
            self.cancel(job_id)
        if self._slumber is not None:
            return
        if self._assembly.arrival is not None:
            self._assembly.arrival.wait(partial(report_loading, "weights"))
        self._loop.close()
        assembly, stats = self._assembly, self.stats()
        del self._assembly, self._scheduler, self._loop
        model, again = assembly.model, assembly.again
        del assembly
        model.forget()
        gc.collect()  # the cache hangs in cycles of its runner and its loop
        self._slumber = _Slumber(stats, HostedWeights(model.tensors().values()), again)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def wake(self) -> None:
        """See `SleepingEngine`."""
        slumber = self._slumber
        if slumber is not None:
            slumber.weights.bring_back()
            self._begin(slumber.again())
            self._scheduler.prefix_queried_tokens = slumber.stats.prefix_queried_tokens
            self._scheduler.prefix_hit_tokens = slumber.stats.prefix_hit_tokens
            self._scheduler.preemptions = slumber.stats.preemptions
            self._slumber = None

    def warm_up(self) -> None:
        """Run one short prompt, so that the bound of the first real step is a measured one. It
        waits for no weights: what it computes is of no use to anybody, and nobody else has its
        salt."""
        prompt = [0] * min(WARM_UP_TOKENS, self._assembly.max_context_tokens - 1)
        sampling = Sampling(max_tokens=1, temperature=0)
        job = JobSpec("warm-up", "", prompt, sampling, cache_salt=uuid4().hex)
        arrival = self._assembly.arrival
        with arrival.ungated() if arrival is not None else nullcontext():
            self.submit(job, 0)
            while self._sequences:
                self.step()
        self._steps = self._output_tokens = 0
        self._samples = StepSampling()  # it compiled, or waited for weights
        self._scheduler.prefix_queried_tokens = self._scheduler.prefix_hit_tokens = 0

    def await_weights(self) -> None:
        """Until the first prompt can follow the weights through the layers without holding up
        anybody.

        Raises:
            EngineError: they do not come.
        """
        arrival = self._assembly.arrival
        if arrival is not None:
            arrival.wait(partial(report_loading, "weights"), NEAR_S)

    def submit(self, job: JobSpec, attempt: int) -> TokenEvent | None:
        self.cancel(job.job_id)
        try:
            check_job(job, self._assembly.vocabulary, self._assembly.max_context_tokens)
        except Unrunnable as error:
            return _end(job, attempt, FinishReason.ERROR, str(error))
        if job.sampling.grammar is not None:
            refusal = self._compilations.start(job, attempt)
            return _end(job, attempt, FinishReason.ERROR, refusal) if refusal else None
        return self._admit(job, attempt)

    def _admit_compiled(self, compiled: Compiled) -> TokenEvent | None:
        job, attempt, matcher = compiled.job, compiled.attempt, compiled.matcher
        if matcher is None:
            return _end(job, attempt, FinishReason.ERROR, compiled.refusal)
        if matcher.ended:
            return _end(job, attempt, FinishReason.STOP)
        return self._admit(job, attempt, matcher)

    def _admit(
        self, job: JobSpec, attempt: int, matcher: Matcher | None = None
    ) -> TokenEvent | None:
        """Let the scheduler have a job, or return its end where it has all of its output."""
        max_context = self._assembly.max_context_tokens
        sequence = sequence_of(job, self._arrivals, max_context, self._assembly.eos_tokens)
        if len(sequence.tokens) >= sequence.limit_tokens:
            return _end(job, attempt, FinishReason.LENGTH)
        self._arrivals += 1
        if matcher is not None:
            self._assembly.sampler.masks.open(sequence.sequence_id, matcher)
        self._jobs[sequence.sequence_id] = job
        self._attempts[sequence.sequence_id] = attempt
        self._sequences[job.job_id] = sequence
        self._assembly.sampler.open(sequence, job)
        self._scheduler.add(sequence)
        return None

    def cancel(self, job_id: str) -> None:
        self._compilations.cancel(job_id)
        sequence = self._sequences.get(job_id)
        if sequence is not None:
            self._scheduler.cancel(sequence)
            self._forget(sequence)
            if not self._sequences:
                # An idle engine is not stepped, and has nothing outstanding.
                self._loop.drain()

    def step(self) -> list[TokenEvent]:
        if self._slumber is not None:
            return []
        wait_s = 0.0 if self._sequences else _COMPILING_WAIT_S
        ready = self._compilations.take_ready(wait_s)
        ended = [end for each in ready if (end := self._admit_compiled(each)) is not None]
        committed = self._loop.step()
        if committed is None:
            return ended
        self._step_times.observe(committed.plan.tokens, committed.duration_s)
        self._samples.see(committed.plan, committed.duration_s)
        self._steps += 1
        copy_s = self._assembly.block_copy_s
        if copy_s is not None:
            self._scheduler.host.costs = PreemptionCosts(copy_s, self._step_times.token_s)
        return ended + [self._event(outcome, committed.result) for outcome in committed.outcomes]

    def expected_step_s(self) -> float:
        if self._slumber is not None:
            return 0.0
        tokens = self._loop.outstanding_tokens or self._scheduler.pending_tokens
        arriving_s = self._assembly.arrival.bound_s if self._assembly.arrival is not None else 0.0
        return arriving_s + self._step_times.bound_s(tokens)

    def stats(self) -> Stats:
        if self._slumber is not None:
            return self._slumber.stats
        limits = self._assembly.limits
        used_blocks = limits.blocks - self._scheduler.blocks.free_blocks
        return Stats(
            running=len(self._scheduler.running),
            waiting=len(self._scheduler.waiting) + len(self._compilations),
            kv_tokens_used=used_blocks * limits.block_tokens,
            kv_tokens_total=limits.blocks * limits.block_tokens,
            max_running=limits.max_running,
            steps=self._steps,
            output_tokens=self._output_tokens,
            prefix_queried_tokens=self._scheduler.prefix_queried_tokens,
            prefix_hit_tokens=self._scheduler.prefix_hit_tokens,
            preemptions=self._scheduler.preemptions,
            sampled_step=self._samples.newest,
            sampled_steps=self._samples.count,
        )

    def close(self) -> None:
        if self._slumber is None and hasattr(self, "_assembly"):  # or it broke falling asleep
            if self._assembly.arrival is not None:
                self._assembly.arrival.close()
            self._loop.close()
        self._compilations.close()

    def _event(self, outcome: Outcome, result: StepResult) -> TokenEvent:
        sequence = outcome.sequence
        job = self._jobs[sequence.sequence_id]
        attempt = self._attempts[sequence.sequence_id]
        self._output_tokens += len(outcome.tokens)
        finish = _finish(outcome)
        if finish is not None:
            self._forget(sequence)
        index = sequence.output_tokens - len(outcome.tokens)
        logprobs = result.logprobs.get(sequence.sequence_id, [])
        return TokenEvent(
            job.job_id,
            attempt,
            index,
            outcome.tokens,
            finish,
            outcome.failure,
            logprobs[: len(outcome.tokens)],
            result.prompt_logprobs.get(sequence.sequence_id, []),
        )

    def _forget(self, sequence: Sequence) -> None:
        job = self._jobs.pop(sequence.sequence_id)
        del self._attempts[sequence.sequence_id]
        del self._sequences[job.job_id]
        self._assembly.sampler.close(sequence.sequence_id)


@dataclass(frozen=True, slots=True)
class _Slumber:
    stats: Stats
    """Of the moment before: nothing runs."""
    weights: HostedWeights
    again: Callable[[], Assembly]


def _end(job: JobSpec, attempt: int, finish: FinishReason, error: str = "") -> TokenEvent:
    """A job ends without a step."""
    return TokenEvent(job.job_id, attempt, len(job.delivered), [], finish, error)


def _finish(outcome: Outcome) -> FinishReason | None:
    if outcome.failure:
        return FinishReason.ERROR
    if outcome.stopped:
        return FinishReason.STOP
    return FinishReason.LENGTH if outcome.sequence.finished else None
