"""Whether kernels can be compiled here, for which instructions, and where the results are kept."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from functools import cache
from pathlib import Path

import torch

from worker.kernels.native.old_kernels import PREFIX, hold, remove_old

_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_KERNELS = Path(__file__).resolve().parents[1]
_FLOATS = "avx512f"
_FEATURES = {torch.float32: _FLOATS, torch.bfloat16: "avx512bf16", torch.int8: "avx512vnni"}
"""What LLVM calls the instructions of a product of weights of each dtype."""


@cache
def available() -> bool:
    """Whether numba can be used; it is told where to keep what it compiles."""
    try:
        from numba.core import config
    except ImportError:  # not installed, or not for this numpy
        return False

    folder = _cache_folder()
    if folder is not None:
        config.CACHE_DIR = str(folder)
    return True


def can_cache() -> bool:
    """Whether compiled kernels outlive the process; without a folder each start compiles."""
    return available() and _cache_folder() is not None


def compiled_before() -> bool:
    """Whether kernels of this source were compiled on this machine, so that a start is short."""
    folder = _cache_folder() if available() else None
    return folder is not None and any(folder.rglob("*.nbi"))


@cache
def multiplies(dtype: torch.dtype) -> bool:
    """Whether this machine has the instructions of our products of such weights."""
    return available() and dtype in _FEATURES and _FEATURES[dtype] in _features()


@cache
def _features() -> frozenset[str]:
    from llvmlite import binding

    return frozenset(name for name, there in binding.get_host_cpu_features().items() if there)


@cache
def _cache_folder() -> Path | None:
    """A folder of our own, named after the source: numba looks at the file of the outermost
    function alone, and would keep what an edited callee no longer says."""
    name = f"{PREFIX}{_source_digest()}"
    temporary = Path(tempfile.gettempdir()) / f"tamer-{os.getuid()}"
    places = [each for each in (_cache_dir(), temporary) if each.is_absolute()]
    found = (_held(each / name) for each in places)
    folder = next((folder for folder in found if folder is not None), None)
    if folder is not None:
        remove_old(folder.parent)
    return folder


def _cache_dir() -> Path:
    """TAMER_CACHE_DIR, without what reading all settings would cost the start of an engine."""
    named = os.environ.get("TAMER_CACHE_DIR")
    if named:
        return Path(named)
    # With no home to be found, as in a container with a user of its own, it stays "~".
    home = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))  # noqa: PTH111
    return home / "tamer"


def _held(folder: Path) -> Path | None:
    """As `owned_folder`; it is made again if it is removed meanwhile."""
    owned = owned_folder(folder)
    try:
        while owned is not None and not hold(owned):
            owned = owned_folder(folder)
    except OSError:
        return None
    return owned


def owned_folder(folder: Path) -> Path | None:
    """Make the folder; returns it without links, or None where we cannot write, or where others
    could put something into it or another in its place: its files are code."""
    try:
        # One by one: for the parents that `mkdir` makes it asks the umask, which may let groups in.
        for each in (*reversed(folder.parents), folder):
            each.mkdir(mode=0o700, exist_ok=True)
        real = folder.resolve(strict=True)
        ours = real.stat().st_uid == os.getuid() and not real.stat().st_mode & _OTHERS
        safe = ours and all(_keeps_its_entries(each) for each in real.parents)
    except (OSError, RuntimeError):
        return None
    return real if safe and os.access(real, os.W_OK) else None


def _keeps_its_entries(folder: Path) -> bool:
    """Whether nobody but us and root could rename what is ours in it."""
    state = folder.stat()
    closed = not state.st_mode & _OTHERS or state.st_mode & stat.S_ISVTX
    return state.st_uid in (0, os.getuid()) and bool(closed)


def _source_digest() -> str:
    digest = hashlib.sha256()
    for path in sorted(_KERNELS.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
