"""Which build of Tamer this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def build_name() -> str:
    """The installed version; "source" where Tamer runs without being installed."""
    try:
        return version("tamer")
    except PackageNotFoundError:
        return "source"
