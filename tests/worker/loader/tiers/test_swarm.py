"""Who reads what from the store, on a clock of the test's own."""

from __future__ import annotations

from infra.peer_access import LANDED, MISSING, READING
from worker.loader.tiers.base import Held
from worker.loader.tiers.swarm import (
    FIRST_READS,
    FIRST_WORD_LIMIT_S,
    GREETING_S,
    IDLE_LIMIT_S,
    PATIENCE_S,
    Swarm,
)

CHUNKS = 200
ROOT = "ab" * 32


def _swarm(*others: str, states: bytes = bytes([MISSING]) * CHUNKS) -> Swarm:
    swarm = Swarm(ROOT, "me:1")
    swarm.began()
    for member in swarm.meet(others, 0.0):
        member.said(states, 0.0)
    return swarm


def test_each_chunk_has_one_owner_whoever_is_asked() -> None:
    names = ["me:1", "b:1", "c:1", "d:1"]
    views = [Swarm(ROOT, name) for name in names]
    counts = dict.fromkeys(names, 0)
    for chunk in range(CHUNKS):
        owners = {view.owner(chunk, set(names) - {view.own_address}) for view in views}
        assert len(owners) == 1
        counts[owners.pop()] += 1
    assert min(counts.values()) > CHUNKS / 4 * 0.6


def test_chunks_of_another_owner_are_waited_for() -> None:
    swarm = _swarm("b:1")
    held = [swarm.held(chunk, 0.1) for chunk in range(CHUNKS)]
    assert 0.3 < held.count(Held.NO) / CHUNKS < 0.7
    assert held.count(Held.SOON) + held.count(Held.NO) == CHUNKS


def test_alone_everything_is_read_from_the_store() -> None:
    swarm = _swarm()
    assert all(swarm.held(chunk, 0.0) is Held.NO for chunk in range(CHUNKS))


def test_a_new_member_has_a_moment_to_speak() -> None:
    swarm = _swarm()
    swarm.meet(["b:1"], 0.0)
    assert swarm.held(0, FIRST_WORD_LIMIT_S / 2) is Held.SOON
    assert swarm.held(0, FIRST_WORD_LIMIT_S * 2) is Held.NO


def test_an_owner_who_stands_still_is_not_waited_for() -> None:
    swarm = _swarm("b:1", states=bytes([READING]) * CHUNKS)
    assert swarm.held(0, PATIENCE_S / 2) is Held.SOON
    assert swarm.held(0, PATIENCE_S * 2) is Held.NO


def test_who_has_nothing_to_do_helps_himself() -> None:
    swarm = _swarm("b:1", states=bytes([READING]) * CHUNKS)
    swarm.ended(0.0)
    assert swarm.held(0, IDLE_LIMIT_S / 2) is Held.SOON
    assert swarm.held(0, IDLE_LIMIT_S * 1.5) is Held.NO
    swarm.began()
    assert swarm.held(1, IDLE_LIMIT_S * 2) is Held.NO, "more than one chunk"
    assert swarm.held(2, IDLE_LIMIT_S * 3) is Held.SOON


def test_who_is_whole_owns_nothing_and_gives_everything() -> None:
    swarm = _swarm("b:1", "c:1", states=bytes([LANDED]) * CHUNKS)
    assert all(swarm.held(chunk, 100.0) is Held.HERE for chunk in range(CHUNKS))
    asked = {swarm.source(chunk, 100.0).address for chunk in range(CHUNKS)}  # type: ignore[union-attr]
    assert asked == {"b:1", "c:1"}


def test_who_leaves_is_not_waited_for() -> None:
    swarm = _swarm("b:1", "c:1")
    swarm.meet(["c:1"], 0.2)
    swarm.meet([], 0.3)
    assert all(swarm.held(chunk, 0.3) is Held.NO for chunk in range(CHUNKS))


def test_a_worker_begins_with_few_reads_since_others_may_begin_too() -> None:
    swarm = Swarm(ROOT, "me:1", began_s=100.0, idle_since_s=100.0)
    assert swarm.held(0, 100.0) is Held.NO
    for _ in range(FIRST_READS):
        swarm.began()
    assert swarm.held(1, 100.1) is Held.SOON
    assert swarm.held(1, 100.0 + GREETING_S) is Held.NO, "nobody came"
