"""The paced engine: continuous batching at a declared rate, on a clock that may be anybody's."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from infra.wire import FinishReason, JobSpec, StepSample, TokenEvent
from loadtests.paced.options import PacedOptions, read_options
from loadtests.paced.sequence import Sequence
from worker.engine.base import EngineSpec
from worker.engine.loading import report_loading
from worker.engine.messages import Stats

_SAMPLE_EVERY = 4
_LOADING_PARTS = 10
_LOADING_PART_BYTES = 16 << 20


class PacedFailure(RuntimeError):
    """The engine broke because its options asked for it."""


class PacedEngine:
    """Takes waiting sequences in their order, as far as slots and KV tokens reach; in each step
    every running sequence gives the same number of tokens."""

    def __init__(
        self,
        options: PacedOptions,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._options = options
        self._clock = clock
        self._sleep = sleep
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []
        self._step_ended_at = clock()
        self._steps = 0
        self._output_tokens = 0
        self._sampled: StepSample | None = None
        self._samples = 0

    def load(self) -> None:
        """Spend the declared loading time."""
        total_bytes = _LOADING_PARTS * _LOADING_PART_BYTES
        for part in range(1, _LOADING_PARTS + 1):
            if self._options.load_s > 0:
                self._sleep(self._options.load_s / _LOADING_PARTS)
            report_loading("weights", part * _LOADING_PART_BYTES, total_bytes)

    def submit(self, job: JobSpec, attempt: int) -> TokenEvent | None:
        options = self._options
        index = len(job.delivered)
        limit = min(options.max_context_tokens, options.kv_tokens_total)
        if len(job.prompt) >= limit:
            error = f"the prompt has {len(job.prompt)} tokens, the context holds {limit}"
            return TokenEvent(job.job_id, attempt, index, [], FinishReason.ERROR, error)
        if index >= job.sampling.max_tokens:
            return TokenEvent(job.job_id, attempt, index, [], FinishReason.LENGTH)
        self.cancel(job.job_id)
        self._waiting.append(Sequence(job, attempt, options.vocabulary, options.eos_every, limit))
        return None

    def cancel(self, job_id: str) -> None:
        self._running = [each for each in self._running if each.job_id != job_id]
        self._waiting = deque(each for each in self._waiting if each.job_id != job_id)

    def step(self) -> list[TokenEvent]:
        admitted = self._admissible()
        if not (admitted or self._running):
            return []
        self._spend(self._duration_s(admitted))
        self._sample(admitted)
        for _ in admitted:
            self._running.append(self._waiting.popleft())
        events = [each.advance(self._options.tokens_per_step) for each in self._running]
        self._running = [
            sequence
            for sequence, event in zip(self._running, events, strict=True)
            if event.finish is None
        ]
        self._steps += 1
        self._output_tokens += sum(len(event.tokens) for event in events)
        if 0 < self._options.fail_after_tokens <= self._output_tokens:
            raise PacedFailure(f"broke after {self._output_tokens} tokens, as its options say")
        return events

    def expected_step_s(self) -> float:
        return self._duration_s(self._admissible())

    def stats(self) -> Stats:
        return Stats(
            running=len(self._running),
            waiting=len(self._waiting),
            kv_tokens_used=sum(each.context_tokens for each in self._running),
            kv_tokens_total=self._options.kv_tokens_total,
            max_running=self._options.max_running,
            steps=self._steps,
            output_tokens=self._output_tokens,
            sampled_step=self._sampled,
            sampled_steps=self._samples,
        )

    def close(self) -> None:
        self._running.clear()
        self._waiting.clear()

    def _admissible(self) -> list[Sequence]:
        """The head of the waiting line that fits now; whoever does not fit holds the place."""
        slots = self._options.max_running - len(self._running)
        room = self._options.kv_tokens_total - sum(each.reserved_tokens for each in self._running)
        admitted: list[Sequence] = []
        for sequence in self._waiting:
            room -= sequence.reserved_tokens
            if len(admitted) >= slots or room < 0:
                break
            admitted.append(sequence)
        return admitted

    def _sample(self, admitted: list[Sequence]) -> None:
        """Tell of now and then a step of decodes alone, as a real engine does."""
        if admitted or self._steps % _SAMPLE_EVERY:
            return
        context = sum(each.context_tokens for each in self._running)
        duration_s = self._options.decode_step_s / self._options.tokens_per_step
        self._sampled = StepSample(len(self._running), context, 0, 0, duration_s)
        self._samples += 1

    def _duration_s(self, admitted: list[Sequence]) -> float:
        prompt_tokens = sum(each.prompt_tokens for each in admitted)
        return self._options.decode_step_s + prompt_tokens / self._options.prefill_tokens_per_s

    def _spend(self, duration_s: float) -> None:
        """Wait for the end of the step; a step that came late (the machine was busy) is made up
        for by the next ones, so that the declared rate holds, but an idle time is not."""
        now = self._clock()
        started_at = max(self._step_ended_at, now - duration_s)
        self._step_ended_at = started_at + duration_s
        if self._step_ended_at > now:
            self._sleep(self._step_ended_at - now)


def build(spec: EngineSpec) -> PacedEngine:
    """The entry point `paced` of `tamer.engines`.

    Raises:
        EngineError: the options are not those of a paced engine.
    """
    engine = PacedEngine(read_options(spec.options))
    engine.load()
    return engine
