from __future__ import annotations

import shlex
import sys

import pytest

from infra.cloud import UnknownCloud, open_cloud
from infra.extras import install_command
from infra.settings import Settings


def test_an_extra_is_installed_from_this_checkout_into_this_environment() -> None:
    interpreter, *_, wanted = shlex.split(install_command("load"))
    assert interpreter == sys.executable
    assert wanted.startswith("/")
    assert wanted.endswith("[load]")


def test_a_cloud_whose_parts_are_missing_says_how_to_install_them_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not `tamer[aws]`, which the package index would answer with another project."""
    monkeypatch.setitem(sys.modules, "infra.cloud.aws.client", None)
    with pytest.raises(UnknownCloud, match=r"pip install .*\[aws\]"):
        open_cloud(Settings(cloud="aws"))
