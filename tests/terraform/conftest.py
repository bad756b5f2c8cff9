"""The real terraform binary and provider, and an AWS that answers over HTTP."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from infra.process import end_with_parent
from tests.fixtures.ports import free_port
from tests.fixtures.requirements import imported
from tests.fixtures.waiting import block_until
from tests.terraform.working_copy import SOURCE, WorkingCopy, copied, provider_environment

REGION = "eu-west-1"
WHEEL = "https://example.com/tamer-0.1.0-py3-none-any.whl"


@pytest.fixture(scope="session")
def copy(tmp_path_factory: pytest.TempPathFactory) -> WorkingCopy:
    """Nothing of it reaches an AWS: there is no endpoint, and there are no credentials."""
    folder = tmp_path_factory.mktemp("terraform")
    nobody = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null"}
    return WorkingCopy(copied(folder), {**provider_environment(folder), **nobody})


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of moto's server."""
    imported("terraform", "moto.server")
    folder = tmp_path_factory.mktemp("moto")
    port = free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.terraform.stand_in", str(port)],
            cwd=SOURCE.parent,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=end_with_parent(),  # noqa: PLW1509 - one prctl, no locks
        )

    def listens() -> bool:
        assert process.poll() is None, (folder / "log").read_text()[-2000:]
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        block_until(listens, "moto's server listens", deadline_s=60.0)
        url = f"http://127.0.0.1:{port}"
        httpx.post(f"{url}/moto-api/reset").raise_for_status()
        yield url
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def applied(aws: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkingCopy]:
    """`examples/minimal`, applied once for all tests of a session."""
    folder: Path = tmp_path_factory.mktemp("applied")
    variables = {
        "TF_VAR_region": REGION,
        "TF_VAR_image_id": "ami-0123456789abcdef0",
        "TF_VAR_owner": "tests",
        "TF_VAR_wheel_url": WHEEL,
    }
    access = {
        "AWS_ENDPOINT_URL": aws,
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "tests",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
    }
    copy = WorkingCopy(copied(folder), {**provider_environment(folder), **access, **variables})
    copy.init("examples/minimal")
    copy.run("examples/minimal", *_now("apply"))
    yield copy


def _now(command: str) -> list[str]:
    return [command, "-auto-approve", "-input=false", "-no-color", "-parallelism=20"]
