"""What was needed a moment ago is not given up."""

from __future__ import annotations

from control_plane.controller.kept import Kept

_WINDOW_S = 300.0


def _look(kept: Kept, target: int, now_s: float) -> int:
    return kept.of("dep-1", _WINDOW_S, target, now_s)


def test_what_runs_at_first_sight_was_needed() -> None:
    kept = Kept()
    assert _look(kept, 4, 0.0) == 4
    kept.see("dep-1", _WINDOW_S, 1, 1.0)
    assert _look(kept, 4, 300.0) == 4
    assert _look(kept, 4, 302.0) == 1


def test_what_another_controller_asked_for_is_its_to_give_up() -> None:
    """It may foresee what this one, that has just started, does not."""
    kept = Kept()
    _look(kept, 2, 0.0)
    kept.see("dep-1", _WINDOW_S, 2, 0.0)
    for now_s in (400.0, 800.0, 2200.0):
        assert _look(kept, 6, now_s) == 6
        kept.see("dep-1", _WINDOW_S, 2, now_s)
    assert _look(kept, 6, 2201.0) == 2, "it is gone, or would have said so"
    kept.moved("dep-1", 2)
    assert _look(kept, 6, 2202.0) == 6, "it is not: it asked again"


def test_what_this_one_asked_for_is_kept_as_far_as_it_said() -> None:
    """A schedule's floor is given back at its end."""
    kept = Kept()
    _look(kept, 0, 0.0)
    kept.see("dep-1", _WINDOW_S, 1, 0.0)
    kept.moved("dep-1", 5)
    assert _look(kept, 5, 1.0) == 1


def test_a_change_that_was_not_written_is_nobody_elses() -> None:
    kept = Kept()
    _look(kept, 4, 0.0)
    kept.see("dep-1", _WINDOW_S, 1, 0.0)
    _look(kept, 4, 400.0)
    kept.see("dep-1", _WINDOW_S, 1, 400.0)
    assert _look(kept, 4, 401.0) == 1


def test_two_controllers_that_foresee_differently_do_not_take_turns() -> None:
    needs = {"foresees": 6, "has just started": 2}
    memories = {name: Kept() for name in needs}
    target, changes = 2, 0
    for kept in memories.values():
        _look(kept, target, 0.0)
    for second in range(1500):
        for name, needed in needs.items():
            kept = memories[name]
            wanted = max(needed, min(target, _look(kept, target, float(second))))
            kept.see("dep-1", _WINDOW_S, needed, float(second))
            if wanted != target:
                target, changes = wanted, changes + 1
                kept.moved("dep-1", target)
    assert (target, changes) == (6, 1)
