"""What is added to the first token is what is not the engine's."""

from __future__ import annotations

import pytest

from loadtests.benchmarks.added_ttft import FirstToken
from loadtests.benchmarks.spans import Span

MS = 1_000_000
SPANS = [
    Span("POST /v1/completions", 100 * MS, 900 * MS),
    Span("tokenise", 102 * MS, 105 * MS),
    Span("offer", 106 * MS, 110 * MS),
    Span("lease", 107 * MS, 109 * MS),
    Span("first token", 109 * MS, 300 * MS),
    Span("deliver", 303 * MS, 305 * MS),
]


def test_it_is_receive_to_lease_and_commit_to_write() -> None:
    found = FirstToken.of(SPANS)
    assert found is not None
    assert found.added_ms == pytest.approx(9 + 5)
    assert found.parts_ms["engine"] == pytest.approx(191)
    rest = sum(ms for name, ms in found.parts_ms.items() if name != "engine")
    assert rest == pytest.approx(found.added_ms)


@pytest.mark.parametrize("lost", range(len(SPANS)))
def test_a_request_that_is_traced_in_part_has_no_figure(lost: int) -> None:
    assert FirstToken.of([*SPANS[:lost], *SPANS[lost + 1 :]]) is None
