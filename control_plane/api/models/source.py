"""Where a model can come from: what may be typed, checked without touching any file."""

from __future__ import annotations

from pathlib import PurePosixPath

from control_plane.importer.errors import ImportRefused
from control_plane.importer.hub_source import parse_hub
from control_plane.importer.package import parse_package
from infra.storage.s3_location import parse_s3

_FORMS = (
    "say hf://ORG/MODEL, hf://ORG/MODEL@REVISION, s3://BUCKET/PREFIX, pypi:NAME, "
    "pypi:NAME==VERSION, or the absolute path of a Hugging Face directory or of a .gguf file"
)


def check_source(source: str) -> str:
    """Return the source in its plain form (`//` and `.` segments of a path dropped).

    Raises:
        ValueError: it is none of the forms; the message says which there are.
    """
    if source.startswith("pypi:"):
        try:
            parse_package(source)
        except ImportRefused as error:
            raise ValueError(f"not the name of a package; {_FORMS}") from error
        return source
    if source.startswith("hf://"):
        parse_hub(source)
        return source
    if source.startswith("s3://"):
        return parse_s3(source).uri
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
