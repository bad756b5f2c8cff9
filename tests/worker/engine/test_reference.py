from __future__ import annotations

from pathlib import Path

from worker.engine.reference import document

ROOT = Path(__file__).parents[3]


def test_the_document_tells_every_option_as_the_code_has_it() -> None:
    assert (ROOT / "docs" / "engine.md").read_text() == document(), "run 'make docs'"


def test_every_option_says_what_it_does() -> None:
    rows = [line for line in document().splitlines() if line.startswith("| `")]
    assert rows
    assert not [row for row in rows if row.endswith("|  |")]
