"""A copy of `terraform/` in which the real binary runs, offline, with a provider from a mirror."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.fixtures.requirements import missing

SOURCE = Path(__file__).resolve().parents[2] / "terraform"
_MIRROR = "registry.terraform.io"
_LIMIT_S = 300
_PLACES = (Path("/usr/share/terraform"), Path("/usr/local/share/terraform"), Path("/opt"))
_OURS = ("AWS_", "TF_")
"""Variables of who runs the tests that must not decide what they do, nor where it happens."""


class WorkingCopy:
    """One folder; commands that fail fail the test with what they said."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        self._environment = {**kept, **environment}

    def run(self, module: str, *arguments: str, allow: tuple[int, ...] = (0,)) -> str:
        """Output of `terraform` in a folder of the copy, without colours."""
        binary = shutil.which("terraform")
        if binary is None:
            missing("terraform", "install the terraform binary, 1.9 or newer")
        done = subprocess.run(
            [str(binary), f"-chdir={self.folder / module}", *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
        assert done.returncode in allow, f"{done.stdout[-20000:]}\n{done.stderr[-20000:]}"
        return done.stdout

    def init(self, module: str) -> None:
        self.run(module, "init", "-input=false", "-no-color")

    def outputs(self, module: str) -> dict[str, Any]:
        told = json.loads(self.run(module, "output", "-json"))
        return {name: each["value"] for name, each in told.items()}


def provider_environment(folder: Path) -> dict[str, str]:
    """Where the provider comes from: a configuration that is named, else a mirror here."""
    named = os.environ.get("TF_CLI_CONFIG_FILE", "")
    if named and Path(named).is_file():
        return {"TF_CLI_CONFIG_FILE": named, "CHECKPOINT_DISABLE": "1"}
    mirror = _found_mirror()
    if mirror is None:
        missing("terraform", f"no provider mirror: no folder {_MIRROR}; see terraform/README.md")
    written = folder / "terraform.rc"
    written.write_text(
        f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n}}\n'
    )
    return {"TF_CLI_CONFIG_FILE": str(written), "CHECKPOINT_DISABLE": "1"}


def _found_mirror() -> Path | None:
    wheels = [
        Path(each) for each in os.environ.get("PIP_FIND_LINKS", "").split() if "://" not in each
    ]
    for place in (*_PLACES, *(each.parent for each in wheels)):
        for mirror in (place, place / "plugins", place / "tf-plugins"):
            if (mirror / _MIRROR).is_dir():
                return mirror
    return None


def copied(folder: Path) -> Path:
    """The sources alone, without what somebody's own runs left beside them."""
    left_out = shutil.ignore_patterns(".terraform*", "*.tfstate*", "*.tfvars")
    return Path(shutil.copytree(SOURCE, folder / "terraform", ignore=left_out))
