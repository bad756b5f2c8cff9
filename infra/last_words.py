"""What a program said last, for a person: the sentence in a line of its log."""

from __future__ import annotations

import json

_LONGEST = 2_000
"""Characters: a sentence is whole, and a program that writes no lines fills no screen."""


def last_words(line: str) -> str:
    """The event of a structured line, with its error or the last line of its traceback; any other
    line as it is."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return line[:_LONGEST]
    if not isinstance(fields, dict) or "event" not in fields:
        return line[:_LONGEST]
    raised = str(fields.get("exception", "")).strip().splitlines()
    error = str(fields.get("error", "")) or (raised[-1].strip() if raised else "")
    event = str(fields["event"]).strip()
    return (f"{event}: {error}" if error else event)[:_LONGEST]
