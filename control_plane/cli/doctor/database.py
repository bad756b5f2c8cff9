"""The store that this machine's settings name."""

from __future__ import annotations

from control_plane.cli.database import ask_store
from control_plane.cli.doctor.finding import Finding, fail, ok
from infra.settings import Settings


def examine_database(settings: Settings) -> Finding:
    """The store, where there is one: to look makes none."""
    if not settings.database_url and not (settings.home / "tamer.db").exists():
        return ok("database", "SQLite in the home folder; 'tamer up' makes it")
    answer = ask_store()
    return ok("database", answer.said) if answer.usable else fail("database", answer.said)
