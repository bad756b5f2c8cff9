"""Why a source does not become a model. Every message is one line and says what to do."""

from __future__ import annotations

import errno

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_MESSAGE_LIMIT = 500


class ImportRefused(ValueError):
    """The source cannot be imported as it is. Its message is one line, whatever the source says."""

    def __init__(self, message: str) -> None:
        line = " ".join(message.split())
        super().__init__(line if len(line) <= _MESSAGE_LIMIT else line[:_MESSAGE_LIMIT] + "...")


class SourceMissing(ImportRefused):
    """Nothing lies where the source says."""


class Corrupt(ImportRefused):
    """A file is truncated, or its header does not describe its content."""


class Unsupported(ImportRefused):
    """A sound source of a kind that Tamer does not serve."""


class UnsafePath(ImportRefused):
    """A name or link that leads out of the model's folder."""


class DownloadFailed(ImportRefused):
    """A source on another machine could not be fetched."""


class DownloadBroke(DownloadFailed):
    """A download that may go well when it is tried again."""


class NotAllowed(ImportRefused):
    """The source lies there, and we may not read it."""


class DiskFull(ImportRefused):
    """There is no room for the model."""


def refusal_of(error: OSError, doing: str) -> ImportRefused:
    """The one-line refusal for what the operating system said."""
    if error.errno in _NO_ROOM:
        return DiskFull(f"no room left while {doing} ({error.strerror}): free some disk and retry")
    return ImportRefused(f"{error.strerror or error} while {doing}: check the path and its rights")
