"""A virtual environment a peer, made once and kept in the cache."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_INSTALL_LIMIT_S = 3600.0
_READY = "ready"
"""A file that is written last: an installation that was interrupted begins again."""


class NotInstalled(RuntimeError):
    """The environment could not be made; the message says why."""


def environment(
    cache: Path,
    name: str,
    requirements: Sequence[str],
    *,
    removed: Sequence[str] = (),
    from_source: Sequence[str] = (),
) -> Path:
    """The folder of an environment with exactly these requirements.

    Args:
        removed: packages that come with the requirements and stand in their way.
        from_source: packages that are compiled here, for this machine's instructions.

    Raises:
        NotInstalled: there is no uv, or it could not install them.
    """
    wanted = repr((requirements, removed, from_source))
    key = hashlib.sha256(f"{platform.python_version()} {wanted}".encode()).hexdigest()[:12]
    folder = cache / "environments" / f"{name}-{key}"
    if (folder / _READY).exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    uv = _uv()
    told = dict(os.environ)
    # uv does not read pip's variable.
    if "UV_FIND_LINKS" not in told and "PIP_FIND_LINKS" in told:
        told["UV_FIND_LINKS"] = told["PIP_FIND_LINKS"]
    python = str(python_of(folder))
    sources = [part for package in from_source for part in ("--no-binary", package)]
    _run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], told)
    _run([uv, "pip", "install", "--quiet", "--python", python, *sources, *requirements], told)
    if removed:
        _run([uv, "pip", "uninstall", "--quiet", "--python", python, *removed], told)
    (folder / _READY).touch()
    return folder


def python_of(folder: Path) -> Path:
    return folder / "bin" / "python"


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        raise NotInstalled("peers are installed with uv, which is not here: pip install uv")
    return found


def _run(command: Sequence[str], variables: Mapping[str, str]) -> None:
    try:
        subprocess.run(
            command,
            env=variables,
            capture_output=True,
            text=True,
            check=True,
            timeout=_INSTALL_LIMIT_S,
        )
    except subprocess.CalledProcessError as error:
        said = " ".join(error.stderr.split())
        raise NotInstalled(f"uv: {said[-400:]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(f"uv: {error}") from error
