"""Fetches one wheel with pip, in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from importlib import metadata
from pathlib import Path

from control_plane.importer.errors import DiskFull, DownloadFailed
from control_plane.importer.progress import Progress

LIMIT_S = 900.0
_PROGRESS = re.compile(r"Progress ([0-9]+) of ([0-9]+)")
_STALL_S = 30


def download_wheel(
    requirement: str, folder: Path, progress: Progress, limit_s: float = LIMIT_S
) -> Path:
    """The wheel of a (checked) requirement, written into `folder`.

    Raises:
        DownloadFailed: pip is missing, finds no wheel, or takes longer than `limit_s`.
        DiskFull: there is no room for it.
    """
    progress("download", 0, 0)
    process = subprocess.Popen(
        _command(requirement, folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, "TMPDIR": str(folder)},
        start_new_session=True,
    )
    late = threading.Event()

    def stop() -> None:
        late.set()
        os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(limit_s, stop)
    timer.start()
    try:
        said = _follow(process, progress)
        code = process.wait()
    finally:
        timer.cancel()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if late.is_set():
        raise DownloadFailed(f"no wheel of {requirement} within {limit_s:.0f} s: try again")
    wheels = sorted(folder.glob("*.whl"))
    if code == 0 and len(wheels) == 1:
        return wheels[0]
    raise _refusal(requirement, said)


def _command(requirement: str, folder: Path) -> list[str]:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--no-input", "--disable-pip-version-check", "--no-cache-dir"]
    command += ["--timeout", str(_STALL_S), "--retries", "2", "--dest", str(folder)]
    return [*command, "--progress-bar", _bar(), "--", requirement]


def _bar() -> str:
    """pip counts bytes in plain lines from 24.1 on."""
    try:
        version = metadata.version("pip").split(".")
    except metadata.PackageNotFoundError as error:
        raise DownloadFailed(
            "pip is not installed here: python -m ensurepip, or uv pip install pip"
        ) from error
    return "raw" if (int(version[0]), int(version[1])) >= (24, 1) else "off"


def _follow(process: subprocess.Popen[str], progress: Progress) -> list[str]:
    """Report the bytes that pip counts, and keep what else it says."""
    assert process.stdout is not None
    said: list[str] = []
    for line in process.stdout:
        if counted := _PROGRESS.match(line):
            progress("download", int(counted[1]), int(counted[2]))
        elif line.strip():
            said = [*said[-50:], line.strip()]
    return said


def _refusal(requirement: str, said: list[str]) -> DownloadFailed | DiskFull:
    text = "\n".join(said)
    if "No space left on device" in text or "Disk quota exceeded" in text:
        return DiskFull(f"no room for the wheel of {requirement}: free some disk and retry")
    errors = [line for line in said if line.startswith("ERROR:")]
    reason = (errors or said or ["pip said nothing"])[-1].removeprefix("ERROR: ")
    return DownloadFailed(
        f"no wheel of {requirement} ({reason}): check the name, the version and the network, "
        f"or install it with pip install --no-deps {requirement}"
    )
