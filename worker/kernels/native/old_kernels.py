"""Compiled kernels of sources that are no longer run: kept a while, then removed."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from pathlib import Path

PREFIX = "kernels-"
_KEPT = 3
"""The newest stay, whatever their age: who goes back to one needs it at once."""
_UNUSED_S = 7 * 86_400.0
_IN_USE = "in-use"


def hold(folder: Path) -> bool:
    """Note that a folder is used now, and keep it from being removed until this process ends.

    Returns whether it is there: it may be removed at this very moment.

    Raises:
        OSError: it cannot be written.
    """
    try:
        file = os.open(folder / _IN_USE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return False
    fcntl.flock(file, fcntl.LOCK_SH)  # the kernel lets it go, however we end
    try:
        os.utime(folder)
        there = os.path.samestat(os.fstat(file), (folder / _IN_USE).stat())
    except FileNotFoundError:
        there = False
    if not there:
        os.close(file)
    return there


def remove_old(parent: Path) -> None:
    """Remove the folders that nobody holds and nobody has used for days, but for the newest.

    What cannot be removed stays: it costs some megabytes.
    """
    try:
        folders = {each: each.stat().st_mtime for each in parent.glob(f"{PREFIX}*")}
    except OSError:  # one was removed while we looked, by whoever does the same
        return
    newest_first = sorted(folders, key=folders.__getitem__, reverse=True)
    for folder in newest_first[_KEPT:]:
        if time.time() - folders[folder] > _UNUSED_S:
            _remove(folder)


def _remove(folder: Path) -> None:
    try:
        file = os.open(folder / _IN_USE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # First out of the way, so that nobody finds half of it.
        gone = folder.rename(folder.with_name(f".gone-{folder.name}-{os.getpid()}"))
        shutil.rmtree(gone, ignore_errors=True)
    except OSError:  # somebody holds it
        return
    finally:
        os.close(file)
