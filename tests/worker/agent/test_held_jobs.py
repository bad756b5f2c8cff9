"""Which jobs a replica may speak for, and until when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from infra.queue.queue import Lease
from infra.wire import FinishReason, JobSpec, Sampling, TokenEvent
from worker.agent.held_jobs import HeldJob, HeldJobs

LEASE_S = 3.0


def take(held: HeldJobs, job_id: str, sent_at_s: float, attempt: int = 1) -> HeldJob:
    lease = Lease(job_id, attempt, "nonce", "gateway", b"")
    return held.take(
        lease, JobSpec(job_id, "request", [1, 2], Sampling(9), delivered=[5]), sent_at_s
    )


def event(job_id: str, attempt: int = 1, index: int = 1, finish: bool = False) -> TokenEvent:
    reason = FinishReason.LENGTH if finish else None
    return TokenEvent(job_id, attempt, index, [7, 8], reason)


@given(st.lists(st.floats(0.01, 2 * LEASE_S), max_size=12), st.floats(0, 30))
def test_a_replica_speaks_for_a_job_only_while_its_last_renewal_is_younger_than_the_lease(
    pauses: list[float], ask_after: float
) -> None:
    held = HeldJobs(LEASE_S)
    job = take(held, "a", sent_at_s=0.0)
    now_s, renewed_at_s = 0.0, 0.0
    for pause in pauses:
        now_s += pause
        held.drop_overdue(now_s)
        if held.current():
            held.renewed([job], [], sent_at_s=now_s)
            renewed_at_s = now_s
    asked_at_s = now_s + ask_after
    assert job.may_speak(asked_at_s) == (asked_at_s < renewed_at_s + LEASE_S and not job.dropped)


def test_a_renewal_counts_from_when_it_was_sent_and_not_from_its_answer() -> None:
    held = HeldJobs(LEASE_S)
    job = take(held, "a", sent_at_s=10.0)
    held.renewed([job], [], sent_at_s=11.0)
    held.renewed([job], [], sent_at_s=10.5)
    assert job.may_speak(13.9)
    assert not job.may_speak(14.0)


def test_an_overdue_job_is_dropped_and_no_late_renewal_brings_it_back() -> None:
    held = HeldJobs(LEASE_S)
    job = take(held, "a", sent_at_s=0.0)
    assert [each.job_id for each in held.drop_overdue(LEASE_S)] == ["a"]
    held.renewed([job], [], sent_at_s=LEASE_S)
    assert held.hear(event("a")) is None
    assert not job.may_speak(LEASE_S)
    assert len(held) == 0


def test_a_lost_job_is_never_spoken_of_again() -> None:
    held = HeldJobs(LEASE_S)
    lost, kept = take(held, "lost", 0.0), take(held, "kept", 0.0)
    assert held.renewed([lost, kept], ["lost"], sent_at_s=1.0) == [lost]
    assert not lost.may_speak(1.0)
    assert held.hear(event("lost")) is None
    assert held.hear(event("kept")) is kept


def test_a_new_attempt_silences_the_old_one() -> None:
    held = HeldJobs(LEASE_S)
    old = take(held, "a", 0.0, attempt=1)
    new = take(held, "a", 1.0, attempt=2)
    assert not old.may_speak(1.0)
    assert held.hear(event("a", attempt=1)) is None
    assert held.hear(event("a", attempt=2)) is new
    assert held.renewed([old], ["a"], sent_at_s=1.5) == []
    assert new.may_speak(2.0)


def test_a_finished_job_is_not_renewed_but_its_last_words_may_be_spoken() -> None:
    held = HeldJobs(LEASE_S)
    job = take(held, "a", 0.0)
    assert held.hear(event("a", finish=True)) is job
    assert held.current() == []
    assert job.may_speak(2.0)
    held.renewed([job], [], sent_at_s=2.0)
    assert not job.may_speak(LEASE_S)


def test_progress_counts_the_output_of_all_attempts() -> None:
    held = HeldJobs(LEASE_S)
    job = take(held, "a", 0.0)
    assert job.progress.output_tokens == 1
    held.hear(event("a", index=1))
    assert job.progress.output_tokens == 3


def test_tokens_of_jobs_that_wait_in_the_engine_are_spoken_for() -> None:
    held = HeldJobs(LEASE_S)
    take(held, "a", 0.0)
    take(held, "b", 0.0)
    assert held.unstarted_tokens() == 6
    held.hear(event("a"))
    assert held.unstarted_tokens() == 3
