"""How long an agent has been silent."""

from __future__ import annotations

from control_plane.controller.kept import Peak
from control_plane.controller.silence import Silences
from infra.wire import Heartbeat


def beat(sequence: int) -> dict[str, Heartbeat]:
    return {"i": Heartbeat("i", 1, "build", sequence, 0)}


def test_an_agent_is_silent_from_its_last_new_word_on() -> None:
    silences = Silences()
    assert silences.listen(["i"], beat(1), 0.0) == {"i": 0.0}
    assert silences.listen(["i"], beat(1), 1.0) == {"i": 1.0}
    assert silences.listen(["i"], {}, 2.0) == {"i": 2.0}
    assert silences.listen(["i"], beat(2), 3.0) == {"i": 0.0}


def test_one_that_was_never_heard_is_silent_from_the_first_look_on() -> None:
    silences = Silences()
    silences.listen([], {}, 0.0)
    assert silences.listen(["i"], {}, 1.0) == {"i": 0.0}
    assert silences.listen(["i"], {}, 2.0) == {"i": 1.0}


def test_time_in_which_nobody_could_be_heard_is_not_the_agents_silence() -> None:
    silences = Silences()
    silences.listen(["i"], beat(1), 0.0)
    assert silences.listen(["i"], beat(1), 600.0)["i"] <= 2.0


def test_a_peak_lasts_as_long_as_its_window() -> None:
    peak = Peak(window_s=10.0)
    seen = [peak.see(value, at_s) for at_s, value in ((0, 5), (3, 2), (9, 3), (11, 1), (20, 0))]
    assert seen == [5, 5, 5, 3, 1]
