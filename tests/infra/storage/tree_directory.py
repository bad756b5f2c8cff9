"""Small trees with a manifest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from infra.storage.tree import FileDigest, root_digest


def write_tree(path: Path, files: dict[str, bytes]) -> str:
    """Returns the digest."""
    path.mkdir(parents=True)
    digests = []
    for name, body in files.items():
        (path / name).write_bytes(body)
        digests.append(FileDigest(name, len(body), hashlib.sha256(body).hexdigest()))
    listed = [{"name": f.name, "size_bytes": f.size_bytes, "sha256": f.sha256} for f in digests]
    manifest = {"digest": root_digest(digests), "files": listed, "architecture": "of its own"}
    (path / "manifest.json").write_text(json.dumps(manifest))
    return root_digest(digests)
