"""Where the server is and with which key: what `tamer up` wrote, unless the environment says."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from infra.keys import new_secret
from infra.settings import Settings

_KEY_VARIABLES = ("TAMER_API_KEY", "TAMER_ADMIN_KEY")


@dataclass(frozen=True, slots=True)
class Credentials:
    url: str
    key: str
    key_source: str = field(default="", compare=False)
    """The variable or the file that the key is from, or that has none."""

    @property
    def key_advice(self) -> str:
        """What to do when the server refuses the key, or wants one."""
        if self.key_source in _KEY_VARIABLES:
            return f"it does not know the key in {self.key_source}, give one that it knows"
        problem = (
            "it does not know the key in" if self.key else "it wants a key, and there is none in"
        )
        return (
            f"{problem} {self.key_source or 'use'}; set TAMER_HOME to the folder that its "
            "'tamer up' uses, or TAMER_API_KEY to a key"
        )

    @classmethod
    def read(cls, settings: Settings) -> Credentials | None:
        """What `tamer up` wrote; None where it never ran in this home."""
        try:
            written = json.loads(credentials_path(settings).read_text())
            return cls(str(written["url"]), str(written["key"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, settings: Settings) -> None:
        """Replace the file as a whole; only this user can read it.

        Raises:
            OSError: it cannot be written.
        """
        path = credentials_path(settings)
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(file, "w") as stream:
            json.dump({"url": self.url, "key": self.key}, stream)
            stream.write("\n")
        draft.replace(path)


def credentials_path(settings: Settings) -> Path:
    return settings.home / "credentials"


def first_key(settings: Settings) -> str:
    """The admin key of this home: TAMER_ADMIN_KEY, else the one written before, else a new one."""
    given = settings.admin_key.get_secret_value()
    if given:
        return given
    written = Credentials.read(settings)
    return written.key if written is not None and written.key else new_secret("tamer")


def remember(settings: Settings, server: Credentials) -> None:
    """Write down where the server is, and its key unless the environment gave it.

    Raises:
        OSError: the file cannot be written.
    """
    if settings.admin_key.get_secret_value():
        written = Credentials.read(settings)
        server = Credentials(server.url, written.key if written is not None else "")
    server.write(settings)


def find_server(settings: Settings) -> Credentials:
    """The server to speak to and the key for it ("" where none is known).

    A key from the file goes only to the server that the file names.
    """
    written = Credentials.read(settings)
    url = _url(settings, written)
    given = (settings.api_key.get_secret_value(), settings.admin_key.get_secret_value())
    for variable, key in zip(_KEY_VARIABLES, given, strict=True):
        if key:
            return Credentials(url, key, variable)
    key = written.key if written is not None and written.url == url else ""
    return Credentials(url, key, str(credentials_path(settings)))


def _url(settings: Settings, written: Credentials | None) -> str:
    if settings.url:
        return settings.url.rstrip("/")
    if written is not None and not {"host", "port"} & settings.model_fields_set:
        return written.url
    return settings.api_url
