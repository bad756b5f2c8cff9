"""The delivery state machine: each index at most once, in order, from the current attempt only."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from control_plane.gateway.delivery import Delivery, News
from infra.wire import FinishReason, TokenEvent

OUTPUT = list(range(100, 112))


def event(
    index: int, tokens: list[int], attempt: int = 1, finish: FinishReason | None = None
) -> TokenEvent:
    return TokenEvent("job", attempt, index, tokens, finish)


def test_the_next_index_is_accepted_and_a_repeat_is_not() -> None:
    delivery = Delivery(10)
    assert delivery.accept(event(0, [1, 2])).tokens == (1, 2)
    assert delivery.accept(event(0, [1, 2])).news is News.NOTHING
    assert delivery.accept(event(1, [2, 3])).tokens == (3,)
    assert delivery.tokens == [1, 2, 3]


def test_a_gap_ends_the_attempt_and_delivers_nothing() -> None:
    delivery = Delivery(10)
    delivery.accept(event(0, [1]))
    assert delivery.accept(event(2, [3])).news is News.LOST
    assert delivery.tokens == [1]


def test_an_empty_finish_beyond_the_next_index_is_a_gap() -> None:
    delivery = Delivery(10)
    assert delivery.accept(event(1, [], finish=FinishReason.STOP)).news is News.LOST
    assert delivery.finish is None


def test_after_its_end_an_attempt_is_not_heard_even_before_the_next_one_is_known() -> None:
    delivery = Delivery(10)
    delivery.accept(event(0, [1]))
    assert delivery.end_attempt(1)
    assert delivery.accept(event(1, [2])).news is News.NOTHING
    assert not delivery.offered


def test_tokens_of_the_next_attempt_prove_that_the_queue_took_the_offer() -> None:
    delivery = Delivery(10)
    delivery.end_attempt(1)
    assert delivery.accept(event(0, [1], attempt=2)).tokens == (1,)
    assert delivery.offered
    delivery.begin_attempt(2)
    assert delivery.tokens == [1]


def test_an_attempt_ends_once_and_is_asked_for_until_it_is_offered() -> None:
    delivery = Delivery(10)
    assert delivery.end_attempt(1)
    assert delivery.end_attempt(1), "its offer is still to be made"
    delivery.begin_attempt(2)
    assert not delivery.end_attempt(1)
    assert delivery.end_attempt(2)


def test_the_limit_ends_the_job_whatever_comes_after_it() -> None:
    delivery = Delivery(2)
    assert delivery.accept(event(0, [1, 2, 3])).news is News.ENDED
    assert delivery.tokens == [1, 2]
    assert delivery.finish is FinishReason.LENGTH
    assert not delivery.end_attempt(1)


def test_a_released_attempt_that_had_said_everything_is_not_lost() -> None:
    delivery = Delivery(2)
    accepted = delivery.accept(event(0, [1, 2], finish=FinishReason.RELEASED))
    assert accepted.news is News.ENDED
    assert delivery.finish is FinishReason.LENGTH


@given(
    st.lists(
        st.tuples(
            st.integers(1, 4),
            st.integers(0, len(OUTPUT)),
            st.integers(0, 4),
            st.booleans(),
        ),
        max_size=60,
    )
)
def test_whatever_replicas_say_each_index_is_delivered_once_in_order(
    said: list[tuple[int, int, int, bool]],
) -> None:
    """Attempts repeat, overlap, skip and speak after their end; the queue answers late or never."""
    delivery = Delivery(len(OUTPUT))
    seen: list[int] = []
    for attempt, index, length, answered in said:
        current = delivery.attempt
        accepted = delivery.accept(event(index, OUTPUT[index : index + length], attempt))
        if accepted.tokens:
            assert attempt == current
        seen.extend(accepted.tokens)
        if accepted.news is News.LOST:
            assert delivery.end_attempt(attempt)
            assert delivery.attempt == attempt + 1
            if answered:
                delivery.begin_attempt(attempt + 1)
    assert seen == delivery.tokens == OUTPUT[: len(seen)]


def test_an_attempt_has_one_voice() -> None:
    delivery = Delivery(10)
    assert delivery.accept(event(0, [1]), "replica-1").tokens == (1,)
    assert delivery.accept(event(1, [9]), "replica-2").news is News.LOST
    assert delivery.end_attempt(1)
    assert delivery.accept(event(1, [2], attempt=2), "replica-2").tokens == (2,)
    assert delivery.tokens == [1, 2]


def test_what_cannot_be_used_gives_nobody_the_voice() -> None:
    delivery = Delivery(10)
    assert delivery.accept(event(-3, [9]), "replica-2").news is News.NOTHING
    assert delivery.accept(event(0, [1]), "replica-1").tokens == (1,)
