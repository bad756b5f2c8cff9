from __future__ import annotations

import shlex
import sys

from infra.extras import install_command


def test_an_extra_is_installed_from_this_checkout_into_this_environment() -> None:
    interpreter, *_, wanted = shlex.split(install_command("load"))
    assert interpreter == sys.executable
    assert wanted.startswith("/")
    assert wanted.endswith("[load]")
