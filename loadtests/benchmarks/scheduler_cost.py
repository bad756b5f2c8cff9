"""What planning and committing one step costs: `python -m loadtests.benchmarks.scheduler_cost`.

Nothing is computed: every running sequence decodes, and each step gives it one more token. Blocks
fill up and enter the prefix cache meanwhile, as they do in service.
"""

from __future__ import annotations

import time

from worker.scheduling.plan import StepResult
from worker.scheduling.scheduler import Limits, Scheduler
from worker.scheduling.sequence import Sequence

SIZES = (1, 64, 256, 1024)
PROMPT_TOKENS = 128
BLOCK_TOKENS = 16
STEPS = 128
ROUNDS = 3


def measure(sequences: int, steps: int = STEPS) -> float:
    """CPU seconds a step with so many running sequences: the best of three rounds."""
    return min(_round_s(sequences, steps) for _ in range(ROUNDS))


def _round_s(sequences: int, steps: int) -> float:
    longest = PROMPT_TOKENS + steps + 2
    blocks = sequences * -(-longest // BLOCK_TOKENS)
    step_tokens = sequences * PROMPT_TOKENS
    scheduler = Scheduler(Limits(sequences, step_tokens, blocks, BLOCK_TOKENS))
    for number in range(sequences):
        prompt = [number, *range(PROMPT_TOKENS - 1)]
        scheduler.add(Sequence(number, prompt, PROMPT_TOKENS, longest))
    _step(scheduler)
    results = [_result(scheduler, token) for token in range(steps)]
    began_s = time.process_time()
    for result in results:
        scheduler.plan(0.0)
        scheduler.commit(result)
    return (time.process_time() - began_s) / steps


def _step(scheduler: Scheduler) -> None:
    scheduler.plan(0.0)
    scheduler.commit(_result(scheduler, 0))


def _result(scheduler: Scheduler, token: int) -> StepResult:
    everybody = scheduler.running or scheduler.waiting
    return StepResult({each.sequence_id: [token] for each in everybody})


def main() -> None:
    print("sequences   microseconds a step")
    for sequences in SIZES:
        print(f"{sequences:9}   {measure(sequences) * 1e6:19.0f}")


if __name__ == "__main__":
    main()
