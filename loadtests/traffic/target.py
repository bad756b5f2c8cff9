"""Where a load test may go: this machine, unless somebody says otherwise."""

from __future__ import annotations

from urllib.parse import urlsplit

from infra.address import is_loopback


class ForbiddenTarget(ValueError):
    """The message says what to do."""


def check_target(url: str, *, allow_remote: bool) -> None:
    """Let a load test at `url` pass, or not.

    Raises:
        ForbiddenTarget: it is not an http(s) URL, or not on this machine and `allow_remote` is off.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        raise ForbiddenTarget(f"{url!r} is no URL: {error}") from error
    if parts.scheme not in ("http", "https") or not host:
        raise ForbiddenTarget(f"{url!r} is no http:// or https:// URL")
    if not allow_remote and not is_loopback(host):
        raise ForbiddenTarget(
            f"{host} is not this machine; load somebody else's only with their consent, "
            "and then with --allow-remote"
        )
