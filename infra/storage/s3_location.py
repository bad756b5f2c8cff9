"""Where something lies in S3."""

from __future__ import annotations

import re
from dataclasses import dataclass

from infra.storage.base import BadKey, is_name

_URI = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?")


@dataclass(frozen=True)
class S3Location:
    """A bucket, and the names joined by `/` under which things lie in it ("" for the top)."""

    bucket: str
    prefix: str

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    @property
    def folder(self) -> str:
        """What the keys of everything below begin with."""
        return self.prefix and self.prefix + "/"

    def below(self, name: str) -> S3Location:
        return S3Location(self.bucket, self.folder + name)

    def split(self) -> tuple[S3Location, str]:
        """The location around it, and its last name.

        Raises:
            BadKey: it is the top of a bucket.
        """
        around, _, name = self.prefix.rpartition("/")
        if not name:
            raise BadKey(f"{self.uri} names a bucket only; say s3://BUCKET/NAME")
        return S3Location(self.bucket, around), name


def parse_s3(uri: str) -> S3Location:
    """Raises BadKey: this is not `s3://BUCKET[/PREFIX]`."""
    match = _URI.fullmatch(uri)
    prefix = (match[2] or "").strip("/") if match else ""
    if match is None or (prefix and not all(is_name(name) for name in prefix.split("/"))):
        raise BadKey(f"{uri!r} is not s3://BUCKET/PREFIX (letters, digits, '.', '_' and '-')")
    return S3Location(match[1], prefix)
