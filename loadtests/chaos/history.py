"""Judge a history of what clients saw: the promises of the queue, without asking the queue.

Pure: events in, violations out. A history is whole when every accepted job has been given the time
to end; before that, `check` with `whole=False` forgives jobs that are still under way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from infra.states import JobState, is_final


@dataclass(frozen=True, slots=True)
class Accepted:
    job_id: str


@dataclass(frozen=True, slots=True)
class Delivered:
    """A token that a connection was given."""

    job_id: str
    connection: str
    attempt: int
    index: int


@dataclass(frozen=True, slots=True)
class Ended:
    job_id: str
    outcome: JobState
    reason: str = ""


Event = Accepted | Delivered | Ended


def check(history: Iterable[Event], *, whole: bool = True) -> list[str]:
    """Every promise that the history breaks, one sentence each; empty where it breaks none."""
    events = list(history)
    return [*_endings(events, whole), *_deliveries(events)]


def _endings(events: list[Event], whole: bool) -> list[str]:
    accepted = {each.job_id for each in events if isinstance(each, Accepted)}
    endings = Counter(each.job_id for each in events if isinstance(each, Ended))
    violations = [f"{job} ended {count} times" for job, count in endings.items() if count > 1]
    violations += [f"{job} ended and was never accepted" for job in endings.keys() - accepted]
    if whole:
        violations += [f"{job} was accepted and lost" for job in accepted - endings.keys()]
    for each in events:
        if isinstance(each, Ended) and not is_final(each.outcome):
            violations.append(f"{each.job_id} ended as {each.outcome.value}, which is no end")
        if isinstance(each, Ended) and each.outcome is JobState.FAILED and not each.reason:
            violations.append(f"{each.job_id} failed without a reason")
    return violations


def _deliveries(events: list[Event]) -> list[str]:
    violations = []
    next_index: dict[tuple[str, str], int] = {}
    newest_attempt: dict[tuple[str, str], int] = {}
    ended: set[str] = set()
    for each in events:
        if isinstance(each, Ended):
            ended.add(each.job_id)
        if not isinstance(each, Delivered):
            continue
        stream = (each.job_id, each.connection)
        wanted = next_index.get(stream, 0)
        if each.index < wanted:
            violations.append(f"{each.job_id}: index {each.index} came twice")
        elif each.index > wanted:
            violations.append(f"{each.job_id}: indexes {wanted} to {each.index - 1} are missing")
        if each.attempt < newest_attempt.get(stream, 0):
            violations.append(f"{each.job_id}: attempt {each.attempt} spoke after it was replaced")
        if each.job_id in ended:
            violations.append(f"{each.job_id}: index {each.index} came after the end")
        next_index[stream] = max(wanted, each.index + 1)
        newest_attempt[stream] = max(newest_attempt.get(stream, 0), each.attempt)
    return violations
