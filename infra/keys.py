"""API keys and one-time tokens: 256 random bits, known to us only by their SHA-256.

A slow password hash would add nothing: nobody guesses 256 random bits.
"""

from __future__ import annotations

import hashlib
import secrets
from enum import StrEnum


class KeyScope(StrEnum):
    ADMIN = "admin"
    INFERENCE = "inference"


def new_secret(prefix: str) -> str:
    return f"{prefix}_{secrets.token_urlsafe(32)}"


def hash_secret(secret: str) -> str:
    """Hex SHA-256. Secrets are looked up by it, so no secret is ever compared character by
    character."""
    return hashlib.sha256(secret.encode()).hexdigest()
