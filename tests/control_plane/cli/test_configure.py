"""`tamer configure` takes what Terraform prints into the settings file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from control_plane.cli.exits import ExitCode
from infra.settings import Settings
from tests.control_plane.cli.stub_answers import Tamer

ENVIRONMENT = {
    "TAMER_CLOUD": "aws",
    "TAMER_AWS_REGION": "eu-west-1",
    "TAMER_AWS_SUBNETS": "eu-west-1a=subnet-1,eu-west-1b=subnet-2",
}
OUTPUTS = {
    "control_plane_policy_arn": {"sensitive": False, "value": "arn:aws:iam::1:policy/x"},
    "tamer_environment": {"sensitive": False, "value": ENVIRONMENT},
}


@pytest.fixture
def outputs(tmp_path: Path) -> str:
    file = tmp_path / "outputs.json"
    file.write_text(json.dumps(OUTPUTS))
    return str(file)


def test_outputs_become_settings_and_what_was_there_stays(
    tamer: Tamer, tmp_path: Path, outputs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "tamer.toml"
    target.write_text('# mine\nport = 8001\naws_region = "us-east-1"\n')
    code, out, err = tamer("configure", outputs)
    assert code == 0, err
    assert 'aws_region = "eu-west-1"' in out
    written = target.read_text()
    assert written.startswith('# mine\nport = 8001\naws_region = "eu-west-1"\n')
    assert target.stat().st_mode & 0o077 == 0
    monkeypatch.delenv("TAMER_PORT", raising=False)
    settings = Settings()
    assert (settings.cloud, settings.port) == ("aws", 8001)
    assert settings.aws_subnets == ENVIRONMENT["TAMER_AWS_SUBNETS"]


def test_the_same_again_changes_nothing(tamer: Tamer, tmp_path: Path, outputs: str) -> None:
    assert tamer("configure", outputs)[0] == 0
    before = (tmp_path / "tamer.toml").read_text()
    code, out, err = tamer("configure", outputs)
    assert (code, out) == (0, "")
    assert "already" in err
    assert (tmp_path / "tamer.toml").read_text() == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "terraform output -json | tamer configure"),
        ("[]", "no JSON object"),
        ("{}", "tamer_environment"),
        ('{"TAMER_CLOWD": "aws"}', "TAMER_CLOWD is no setting"),
        ('{"TAMER_AWS_SUBNETS": "nonsense"}', "ZONE=SUBNET"),
        ('{"TAMER_PORT": 1}', "no text"),
    ],
)
def test_what_is_no_output_is_refused_and_nothing_written(
    tamer: Tamer, tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "outputs.json"
    file.write_text(text)
    code, _, err = tamer("configure", str(file))
    assert code == ExitCode.USAGE
    assert said in err
    assert not (tmp_path / "tamer.toml").exists()
