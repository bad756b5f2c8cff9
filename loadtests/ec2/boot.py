"""What cloud-init does with user data, on a folder instead of a machine's root.

Each part of the message that is a shell script runs, in order. What is remapped is the machine's
own: the file of the agent's environment, its home, its Python, which has Tamer, and the address of
its metadata service. Everything else is as the launch sent it.
"""

from __future__ import annotations

import base64
import email
import os
import sys
from collections.abc import Mapping
from pathlib import Path

METADATA_URL = "http://169.254.169.254"
_ROOT = Path(__file__).resolve().parents[2]
_SCRIPT = "text/x-shellscript"
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "OMP_WAIT_POLICY")
_IN_ORDER = 'for part in "$@"; do last="$part"; [ "$#" = 1 ] || "$part"; shift; done; exec "$last"'


class NoBoot(ValueError):
    """User data that no cloud-init would run."""


def scripts(user_data_base64: str) -> list[str]:
    """The shell scripts of user data, in their order. Raises NoBoot: there is none."""
    text = base64.b64decode(user_data_base64).decode()
    if text.startswith("#!"):
        return [text]
    message = email.message_from_string(text)
    found = [
        str(part.get_payload()) for part in message.walk() if part.get_content_type() == _SCRIPT
    ]
    if not found:
        raise NoBoot("user data has no shell script")
    return found


def boot_command(user_data_base64: str, folder: Path, metadata_url: str) -> list[str]:
    """What the machine runs when it boots; the last script takes the process's place."""
    command = ["/bin/sh", "-euc", _IN_ORDER, "cloud-init"]
    folder.mkdir(parents=True, exist_ok=True)
    for number, script in enumerate(scripts(user_data_base64)):
        file = folder / f"part-{number}"
        file.write_text(script.lstrip("\n").replace(METADATA_URL, metadata_url))
        file.chmod(0o700)
        command.append(str(file))
    return command


def boot_environment(folder: Path, devices: int, inherited: Mapping[str, str]) -> dict[str, str]:
    """Of a machine that has so many devices, before its user data says anything."""
    kept = {name: inherited[name] for name in _INHERITED if name in inherited}
    return {
        **kept,
        "PYTHONPATH": str(_ROOT),
        "PYTHONUNBUFFERED": "1",
        "TAMER_AGENT_ENV_FILE": str(folder / "agent.env"),
        "TAMER_BOOT_FOREGROUND": "1",
        "TAMER_CACHE_DIR": inherited.get("TAMER_CACHE_DIR", str(folder.parent / "cache")),
        "TAMER_HOME": str(folder / "home"),
        "TAMER_PYTHON": sys.executable,
        "TAMER_SLOTS": str(devices),
    }


def here() -> dict[str, str]:
    """The environment of this process."""
    return dict(os.environ)
