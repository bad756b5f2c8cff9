"""Folders that only we may look into: for sockets, keys and logs."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def make_private(folder: Path) -> Path:
    """Create `folder` with mode 0700, or make an existing one so.

    Raises:
        PermissionError: it is a link, or somebody else's; in a shared temporary folder that would
            be somebody who wants to read along.
        OSError: it cannot be created.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(f"{folder} is not a folder of this user; remove it")
    folder.chmod(0o700)
    return folder
