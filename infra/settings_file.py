"""`$TAMER_HOME/tamer.toml`, read so that a mistake in it is named."""

from __future__ import annotations

import difflib
import tomllib
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from pydantic_settings import BaseSettings, TomlConfigSettingsSource


class SettingsFileError(Exception):
    """The file cannot be used; the message says where and what to correct."""


class SettingsFile(TomlConfigSettingsSource):
    """A source of settings that refuses what is no TOML, and keys that are no settings."""

    def __init__(self, settings_cls: type[BaseSettings], file: Path) -> None:
        self.settings_cls = settings_cls  # the source reads the file while it is made
        super().__init__(settings_cls, toml_file=file)

    def _read_file(self, file_path: Path | Traversable) -> dict[str, Any]:
        """Raises:
        SettingsFileError: it is not text in TOML, cannot be read, or has an unknown key.
        """
        try:
            found = tomllib.loads(file_path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:  # a TOMLDecodeError names line and column
            raise SettingsFileError(f"{file_path}: {error}") from error
        known = self.settings_cls.model_fields
        for key in found:
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                hint = f"did you mean '{near[0]}'?" if near else "docs/configuration.md lists them"
                raise SettingsFileError(f"{file_path}: '{key}' is no setting; {hint}")
        return found
