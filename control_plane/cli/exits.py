"""How a command ends: exit codes, and errors that are one line saying what to type."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_FOUND = 4
    REFUSED = 5
    TIMED_OUT = 6
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "failed",
    ExitCode.USAGE: "wrong usage or a file that cannot be read",
    ExitCode.UNREACHABLE: "the server cannot be reached",
    ExitCode.NOT_FOUND: "no such thing",
    ExitCode.REFUSED: "refused by the server (key, conflict, bad values)",
    ExitCode.TIMED_OUT: "not in time",
    ExitCode.INTERRUPTED: "interrupted",
}
EXIT_CODES = (
    "Exit codes: " + "; ".join(f"{code.value} {said}" for code, said in MEANINGS.items()) + "."
)


class CommandError(Exception):
    """Ends the command; the message is the one line that the user sees."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.code = code
