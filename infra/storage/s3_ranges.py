"""Parts of objects in S3.

boto3 signs a URL, which works for any part of the object; the bytes come over connections of ours.
Credentials and region are those of AWS's own chain, as everywhere.
"""

from __future__ import annotations

import threading
import time

from infra.storage.http_ranges import HttpFile, Target
from infra.storage.s3_client import our_errors, s3_client
from infra.storage.s3_location import S3Location

_SIGNED_FOR_S = 900
_SIGNED_AGAIN_AFTER_S = 300.0


def open_object(location: S3Location, size_bytes: int, endpoint: str) -> HttpFile:
    """The object at a location, of which this size is expected; nothing is asked yet."""
    return HttpFile(location.uri, size_bytes, _Signature(location, endpoint).target)


class _Signature:
    def __init__(self, location: S3Location, endpoint: str) -> None:
        self._location = location
        self._endpoint = endpoint
        self._lock = threading.Lock()
        self._signed_at_s = float("-inf")
        self._target = Target("")

    def target(self) -> Target:
        """Raises StorageDenied: there are no credentials."""
        with self._lock:
            if time.monotonic() - self._signed_at_s > _SIGNED_AGAIN_AFTER_S:
                with our_errors(self._location):
                    url: str = s3_client(self._endpoint).generate_presigned_url(
                        "get_object",
                        Params={"Bucket": self._location.bucket, "Key": self._location.prefix},
                        ExpiresIn=_SIGNED_FOR_S,
                    )
                self._target = Target(url)
                self._signed_at_s = time.monotonic()
            return self._target
