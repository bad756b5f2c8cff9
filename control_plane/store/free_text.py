"""Text from elsewhere (an agent's reason, an error's words), made fit for any database."""

from __future__ import annotations

from sqlalchemy import Dialect, String
from sqlalchemy.types import TypeDecorator

_REPLACEMENT = "\ufffd"


class FreeText(TypeDecorator[str]):
    """A string whose NUL and surrogates are replaced: PostgreSQL holds neither, and what a broken
    agent says must not keep its row from being written."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, _dialect: Dialect) -> str | None:
        if value is None:
            return None
        return value.replace("\0", _REPLACEMENT).encode("utf-8", "replace").decode("utf-8")
