"""User data: what cloud-init would run is run."""

from __future__ import annotations

import base64
import email
import gzip
import os
import stat
import subprocess
from email.message import Message
from pathlib import Path

import pytest

from infra.cloud.aws.boot import decoded, user_data
from infra.cloud.refusals import Malformed

SECRET = 'it\'s "one" $(id) `id` \\ time'


def parts(written: str) -> list[Message]:
    found = email.message_from_string(decoded(written)).get_payload()
    assert isinstance(found, list)
    return [each for each in found if isinstance(each, Message)]


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def run(part: Message, file: Path, **environment: str) -> str:
    """As cloud-init does, but for the user: the part is a program."""
    assert part.get_content_type() == "text/x-shellscript"
    program = file.parent / "part"
    program.write_text(str(part.get_payload()))
    program.chmod(0o700)
    env = {"PATH": os.environ["PATH"], "TAMER_AGENT_ENV_FILE": str(file), **environment}
    return subprocess.run(
        [str(program)], env=env, check=True, capture_output=True, text=True
    ).stdout


def test_the_environment_reaches_the_program_that_the_template_starts(tmp_path: Path) -> None:
    template = encoded('#!/bin/sh\nset -a\n. "$TAMER_AGENT_ENV_FILE"\nprintenv TAMER_JOIN_TOKEN\n')
    write, start = parts(user_data({"TAMER_JOIN_TOKEN": SECRET}, template))
    file = tmp_path / "etc" / "agent.env"
    file.parent.mkdir()
    run(write, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert run(start, file) == SECRET + "\n"


def test_a_template_without_user_data_starts_the_agent(tmp_path: Path) -> None:
    write, start = parts(user_data({"TAMER_JOIN_URL": "http://api"}, ""))
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$TAMER_JOIN_URL $*"\n')
    python.chmod(0o700)
    run(write, tmp_path / "agent.env")
    text = run(start, tmp_path / "agent.env", TAMER_PYTHON=str(python))
    assert text == "http://api -m worker.agent\n"


def test_the_same_launch_has_the_same_user_data() -> None:
    one = user_data({"A": "1", "B": "2"}, "")
    assert one == user_data({"B": "2", "A": "1"}, "")


def test_a_template_of_cloud_config_keeps_its_type() -> None:
    template = base64.b64encode(gzip.compress(b"#cloud-config\nruncmd: [ls]\n")).decode()
    kinds = [each.get_content_type() for each in parts(user_data({}, template))]
    assert kinds == ["text/x-shellscript", "text/cloud-config"]


@pytest.mark.parametrize(
    ("environment", "template", "says"),
    [
        ({"A": "1\n2"}, "", "environment"),
        ({"a b": "1"}, "", "environment"),
        ({"A": "x" * 17000}, "", "16384"),
        ({}, encoded("hello"), "begin with"),
        ({}, base64.b64encode(b"\xff\xfe").decode(), "not text"),
    ],
)
def test_what_cannot_boot_is_refused(environment: dict[str, str], template: str, says: str) -> None:
    with pytest.raises(Malformed, match=says):
        user_data(environment, template)
