"""What an error of Redis means, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator

from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import AuthenticationError, ClusterDownError


def wrong_url(error: BaseException, setting: str) -> str | None:
    """What to correct in the URL that `setting` gives, where waiting for Redis cannot help; None
    where it may."""
    for each in _chain(error):
        said = str(each)
        if isinstance(each, AuthenticationError):
            return (
                f"the Redis of {setting} refuses user and password ({said}): correct them in "
                "the URL (redis://user:password@host:port/0; sentinels have their own: "
                "?sentinel_username=...&sentinel_password=...)"
            )
        if "Cluster mode is not enabled" in said or "cluster support disabled" in said:
            return f"{setting} names no cluster: write redis:// where there is one server"
        if "unknown command" in said and "SENTINEL" in said.upper():
            return (
                f"{setting} names a server that is no sentinel: give the addresses of the "
                "sentinels (port 26379, mostly), or write redis:// for one server"
            )
    return None


def said_by(error: BaseException) -> str:
    """The error in its own words; some have none."""
    return str(error) or type(error).__name__


def advice(error: BaseException, setting: str) -> str:
    """What the Redis of `setting` may need that does not answer; processes go on trying."""
    if isinstance(error, MasterNotFoundError):
        return (
            f"start the master, or correct the name behind the last / of {setting}: "
            "'redis-cli -p 26379 SENTINEL MASTERS' asks a sentinel which names it knows"
        )
    if isinstance(error, ClusterDownError) or "slots are not covered" in str(error):
        return (
            "start the nodes of the cluster that are down, or give their slots to others: "
            "'redis-cli CLUSTER INFO' and 'CLUSTER NODES' tell which"
        )
    return f"start it, or correct {setting}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__
