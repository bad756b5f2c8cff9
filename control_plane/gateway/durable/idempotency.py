"""The `Idempotency-Key` header: the same request again is the same answer again."""

from __future__ import annotations

import hashlib
import re
from typing import Annotated

from fastapi import Depends, Header
from pydantic import BaseModel

from control_plane.gateway.errors import ApiError, bad_request

_SANE = re.compile(r"[\x21-\x7e]{1,255}")
_Given = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="The same request with the same key again is the same answer again.",
        json_schema_extra={"pattern": rf"^{_SANE.pattern}$"},
    ),
]


async def _read(given: _Given = None) -> str:
    """Empty where there is none. Raises ApiError 400 for one that cannot be a key."""
    if given is None:
        return ""
    if not _SANE.fullmatch(given):
        raise bad_request(
            "'Idempotency-Key' must be 1 to 255 printable ASCII characters without spaces; a UUID "
            "does well.",
            code="invalid_idempotency_key",
        )
    return given


IdempotencyKey = Annotated[str, Depends(_read)]


def body_digest(endpoint: str, body: BaseModel) -> str:
    """Of what is asked, not of how it was written, nor of how the answer is to come: who gave up a
    stream may ask for the whole under the same key."""
    asked = body.model_dump_json(exclude={"stream", "stream_options", "background"})
    return hashlib.sha256(f"{endpoint}\n{asked}".encode()).hexdigest()


def key_reused() -> ApiError:
    return ApiError(
        422,
        "This 'Idempotency-Key' was used for a different request; use a new key for a new request.",
        kind="idempotency_error",
        code="idempotency_key_reused",
    )
