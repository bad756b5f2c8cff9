"""The settings of a process, or its end with one line that says which of them is wrong."""

from __future__ import annotations

import sys

from pydantic import ValidationError

from infra.settings import Settings
from infra.settings_file import SettingsFileError


def process_settings() -> Settings:
    """Read the settings; where one is wrong, say so on stderr and exit with code 1."""
    try:
        return Settings()
    except SettingsFileError as error:
        sys.exit(str(error))
    except ValidationError as error:
        sys.exit(wrong_setting(error))


def wrong_setting(error: ValidationError) -> str:
    """The first wrong setting, in one line; what may hold a password is not repeated."""
    wrong = error.errors()[0]
    name = "TAMER_" + "_".join(str(part) for part in wrong["loc"]).upper()
    ours = wrong.get("ctx", {}).get("error")
    if ours is not None:
        return f"{name}: {ours}"
    return f"{name}={wrong['input']!r}: {wrong['msg'].lower()}"
