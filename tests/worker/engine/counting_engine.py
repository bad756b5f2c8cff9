"""An engine that counts: enough to hold the engine process to its protocol."""

from __future__ import annotations

import time

from infra.wire import FinishReason, JobSpec, TokenEvent
from worker.engine.base import Engine, EngineError, EngineSpec
from worker.engine.loading import report_loading
from worker.engine.messages import Stats


class CountingEngine:
    """Output token i of a job is i; a step takes `step_s`."""

    def __init__(self, step_s: float) -> None:
        self._step_s = step_s
        self._jobs: dict[str, tuple[JobSpec, int, int]] = {}

    def submit(self, job: JobSpec, attempt: int) -> TokenEvent | None:
        if not job.prompt:
            return TokenEvent(job.job_id, attempt, 0, [], FinishReason.ERROR, "empty prompt")
        if job.prompt == [666]:
            raise MemoryError("no room for the beast")
        self._jobs[job.job_id] = (job, attempt, len(job.delivered))
        return None

    def cancel(self, job_id: str) -> None:
        self._jobs.pop(job_id, None)

    def step(self) -> list[TokenEvent]:
        time.sleep(self._step_s)
        events = []
        for job, attempt, index in list(self._jobs.values()):
            finish = FinishReason.LENGTH if index + 1 == job.sampling.max_tokens else None
            events.append(TokenEvent(job.job_id, attempt, index, [index], finish))
            self._jobs[job.job_id] = (job, attempt, index + 1)
            if finish:
                del self._jobs[job.job_id]
        return events

    def expected_step_s(self) -> float:
        return self._step_s * 10

    def stats(self) -> Stats:
        return Stats(running=len(self._jobs))

    def close(self) -> None:
        return


def build(spec: EngineSpec) -> Engine:
    if "refuse" in spec.options:
        raise EngineError("unknown option 'refuse'")
    report_loading("weights", 100, 100)
    return CountingEngine(float(spec.options.get("step_s", 0)))
