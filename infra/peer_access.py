"""Who may read a model's weights from another worker: whoever must run that model.

The control plane derives a key for each model from its own secret, and tells it with the
assignment. A request shows a code of that key for one address and path: who overhears it, or is
asked under a false address, can ask that same worker for that same model and nobody for anything
else.
"""

from __future__ import annotations

import hashlib
import hmac

PATH = "/weights"
"""`/weights/<root>` are the bytes, by Range; `/weights/<root>/chunks` a byte for each chunk."""
SCHEME = "Tamer"

MISSING, LANDED, READING = 0, 1, 2
"""What that byte says; READING: on its way from the store."""


def weights_key(secret: bytes, model_uri: str) -> str:
    """For the workers that must run this model."""
    return hmac.digest(secret, f"weights:{model_uri}".encode(), hashlib.sha256).hex()


def permission(key: str, address: str, path: str) -> str:
    """What an `Authorization` header says; `address` is the HOST:PORT that is asked."""
    code = hmac.digest(key.encode(), f"{address}\n{path}".encode(), hashlib.sha256).hex()
    return f"{SCHEME} {code}"


def is_permitted(shown: str, key: str, address: str, path: str) -> bool:
    return bool(key) and hmac.compare_digest(
        shown.encode("utf-8", "replace"), permission(key, address, path).encode()
    )
