"""How S3 is reached: the client, its limits, and its errors as ours.

The credentials and the region are those of AWS's own chain (environment, profile, instance role).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig, create_transfer_manager
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    PartialCredentialsError,
)
from s3transfer.exceptions import TransferNotDoneError
from s3transfer.subscribers import BaseSubscriber

from infra.storage.base import Moved, NotStored, StorageAway, StorageDenied
from infra.storage.s3_location import S3Location

PART_BYTES = 16 << 20
_PARTS_AT_ONCE = 8
_CONNECT_LIMIT_S = 5
_READ_LIMIT_S = 30
_ATTEMPTS = 4
_DENIED = frozenset({"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"})
_ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})


@lru_cache(maxsize=4)
def s3_client(endpoint: str) -> Any:
    """boto3's client, which threads may share. `endpoint` is "" for Amazon's own."""
    options = Config(
        connect_timeout=_CONNECT_LIMIT_S,
        read_timeout=_READ_LIMIT_S,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        max_pool_connections=2 * _PARTS_AT_ONCE,
        s3={"addressing_style": "path" if endpoint else "auto"},
        # Stores that speak S3 differ in the newer checksums; ours are in the manifest.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if endpoint and not region:
        region = "us-east-1"
    session = boto3.session.Session(region_name=region)
    return session.client("s3", endpoint_url=endpoint or None, config=options)


@contextmanager
def transfers(client: Any) -> Iterator[Any]:
    """s3transfer's manager: parts are read and written in parallel; an error cancels the rest."""
    options = TransferConfig(
        multipart_threshold=PART_BYTES,
        multipart_chunksize=PART_BYTES,
        max_concurrency=_PARTS_AT_ONCE,
    )
    with create_transfer_manager(client, options) as manager:
        yield manager


class Counting(BaseSubscriber):  # type: ignore[misc]
    """Tells a `Moved` what a transfer has moved."""

    def __init__(self, moved: Moved) -> None:
        self._moved = moved

    def on_progress(self, bytes_transferred: int, **_: Any) -> None:
        self._moved(bytes_transferred)


@contextmanager
def our_errors(location: S3Location) -> Iterator[None]:
    """What S3 and the way to it say, as `StorageError`s about `location`."""
    where = location.uri
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise StorageDenied(
            f"no credentials for {where}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "or give this machine a role"
        ) from error
    except ClientError as error:
        raise _refusal(error, where, location.bucket) from error
    except (BotoCoreError, Boto3Error, TransferNotDoneError) as error:
        raise StorageAway(
            f"{where} cannot be reached ({error}): check the network and TAMER_S3_ENDPOINT"
        ) from error


def code_of(error: ClientError) -> str:
    """S3's own name of the error, or the HTTP status where there is no body."""
    return str(error.response.get("Error", {}).get("Code", ""))


def is_absent(error: ClientError) -> bool:
    return code_of(error) in _ABSENT


def _refusal(
    error: ClientError, where: str, bucket: str
) -> StorageDenied | NotStored | StorageAway:
    code = code_of(error)
    if code in _DENIED or error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 403:
        return StorageDenied(f"S3 refuses access to {where} ({code}): check the key or role")
    if code == "NoSuchBucket":
        return NotStored(f"there is no bucket {bucket}: make it, or name another")
    if is_absent(error):
        return NotStored(f"nothing lies at {where}: check the name, or import the model again")
    return StorageAway(f"S3 could not serve {where} ({error}): try again")
