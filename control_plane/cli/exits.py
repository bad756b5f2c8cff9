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


EXIT_CODES = (
    "Exit codes: 0 done; 1 failed; 2 wrong usage or a file that cannot be read; 3 the server cannot"
    " be reached; 4 no such thing; 5 refused by the server (key, conflict, bad values);"
    " 6 not in time; 130 interrupted."
)


class CommandError(Exception):
    """Ends the command; the message is the one line that the user sees."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.code = code
