"""User data: what a machine does when it boots, as a multi-part message for cloud-init.

The first part writes the environment of the agent into a file that only root reads; the second is
what the launch template brings, or else starts the agent of the image. Scripts run in that order,
and before a template's `runcmd`.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import re
import shlex
from collections.abc import Mapping

from infra.cloud.refusals import Malformed

ENVIRONMENT_FILE = "/etc/tamer/agent.env"
_LIMIT_BYTES = 16 << 10
_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")
_BOUNDARY = "==tamer-boot=="
_TYPES = (
    ("#!", "text/x-shellscript"),
    ("#cloud-config", "text/cloud-config"),
    ("#cloud-boothook", "text/cloud-boothook"),
)
_WRITE = f"""#!/bin/sh
set -eu
file="${{TAMER_AGENT_ENV_FILE:-{ENVIRONMENT_FILE}}}"
mkdir -p "$(dirname "$file")"
umask 077
cat > "$file" <<'TAMER_ENVIRONMENT'
%s
TAMER_ENVIRONMENT
"""
_START = f"""#!/bin/sh
set -eu
file="${{TAMER_AGENT_ENV_FILE:-{ENVIRONMENT_FILE}}}"
python="${{TAMER_PYTHON:-python3}}"
if [ -d /run/systemd/system ] && [ "$(id -u)" = 0 ]; then
    exec systemd-run --unit=tamer-agent --property="EnvironmentFile=$file" \\
        "$(command -v "$python")" -m worker.agent
fi
set -a
. "$file"
set +a
exec "$python" -m worker.agent
"""


def user_data(environment: Mapping[str, str], template: str) -> str:
    """Base64, as EC2 takes it, the same for the same arguments.

    Args:
        template: user data of the launch template, in base64; may be empty.

    Raises:
        Malformed: a name or value cannot be written, or it is too long for EC2.
    """
    parts = [_WRITE % "\n".join(_line(*each) for each in sorted(environment.items()))]
    parts.append(decoded(template) or _START)
    message = _multipart(parts).encode()
    if len(message) > _LIMIT_BYTES:
        raise Malformed(
            f"user data of {len(message)} bytes: EC2 takes {_LIMIT_BYTES}; shorten that of the "
            "launch template"
        )
    return base64.b64encode(message).decode()


def decoded(user_data_base64: str) -> str:
    """The text of user data. Raises Malformed: it is none."""
    try:
        raw = base64.b64decode(user_data_base64, validate=False)
        return (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode()
    except (binascii.Error, OSError, EOFError, UnicodeDecodeError) as error:
        raise Malformed(f"the user data of the launch template is not text: {error}") from error


def _line(name: str, value: str) -> str:
    if not _NAME.fullmatch(name) or any(each in value for each in "\r\n\0"):
        raise Malformed(f"{name!r} cannot be in the environment of an agent")
    return f"{name}={shlex.quote(value)}"


def _multipart(parts: list[str]) -> str:
    message = f'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="{_BOUNDARY}"\n\n'
    for part in parts:
        message += f"--{_BOUNDARY}\nContent-Type: {_type(part)}\n\n{part.rstrip()}\n\n"
    return message + f"--{_BOUNDARY}--\n"


def _type(part: str) -> str:
    for begins, type_name in _TYPES:
        if part.startswith(begins):
            return f'{type_name}; charset="utf-8"'
    raise Malformed(
        "the user data of the launch template must begin with #!, #cloud-config or #cloud-boothook"
    )
