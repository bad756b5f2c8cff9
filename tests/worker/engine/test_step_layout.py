"""A step's rows are those of its plan, as it was when it was made."""

from __future__ import annotations

from worker.engine.step_layout import StepLayout, lay_out
from worker.scheduling.plan import StepResult
from worker.scheduling.scheduler import Limits, Scheduler
from worker.scheduling.sequence import Sequence


def scheduler(*prompts: int, step_tokens: int = 8) -> Scheduler:
    """Prompts of so many tokens: 10, 11, ... in sequence 0, 20, 21, ... in sequence 1."""
    made = Scheduler(Limits(max_running=4, step_tokens=step_tokens, blocks=20, block_tokens=4))
    for number, length in enumerate(prompts):
        first = 10 * (number + 1)
        tokens = list(range(first, first + length))
        made.add(Sequence(number, tokens, length, length + 10))
    return made


def next_layout(scheduler: Scheduler, before: tuple[int, ...] = ()) -> StepLayout:
    plan = scheduler.plan(0.0)
    assert plan is not None
    return lay_out(plan, 4, before=before)


def test_rows_lie_one_after_the_other_each_in_its_slot() -> None:
    layout = next_layout(scheduler(6, 5))
    assert layout.token_ids.tolist() == [10, 11, 12, 13, 14, 15, 20, 21]
    assert layout.positions.tolist() == [0, 1, 2, 3, 4, 5, 0, 1]
    assert layout.starts.tolist() == [0, 0]
    assert layout.counts.tolist() == [6, 2]
    first, second = layout.block_tables
    assert layout.tables.tolist() == [list(first), [*second, 0]]
    assert len(second) == 1, "a table reaches as far as its rows"
    expected = [first[i // 4] * 4 + i % 4 for i in range(6)] + [second[0] * 4, second[0] * 4 + 1]
    assert layout.slots.tolist() == expected


def test_only_the_last_row_of_a_whole_prompt_samples() -> None:
    layout = next_layout(scheduler(6, 5))
    assert layout.sampling == (0,)
    assert layout.sampled_rows.tolist() == [5]
    assert not layout.decodes_only


def test_a_token_that_the_step_before_samples_is_awaited_from_its_place_there() -> None:
    planned = scheduler(2, 3, 2)
    first = next_layout(planned)
    assert first.sampling == (0, 1, 2)
    second = next_layout(planned, before=first.sampling)
    assert second.awaited_rows.tolist() == [0, 1, 2]
    assert second.awaited_samples.tolist() == [0, 1, 2]
    assert second.token_ids.tolist() == [0, 0, 0]
    assert second.positions.tolist() == [2, 3, 2]
    assert second.decodes_only


def test_a_layout_stays_as_it_was_when_its_sequences_go_on() -> None:
    planned = scheduler(3)
    layout = next_layout(planned)
    before = layout.token_ids.tolist(), layout.block_tables
    planned.commit(StepResult({0: [99]}))
    planned.plan(0.0)
    assert (layout.token_ids.tolist(), layout.block_tables) == before


def test_a_known_token_is_not_awaited() -> None:
    planned = scheduler(3)
    next_layout(planned)
    planned.commit(StepResult({0: [99]}))
    layout = next_layout(planned, before=(0,))
    assert layout.token_ids.tolist() == [99]
    assert not len(layout.awaited_rows)
