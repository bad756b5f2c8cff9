"""What a Redis URL says: one server, a primary that sentinels name, or a cluster."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

_TLS = "rediss"
_SENTINEL_PORT = 26379
_REDIS_PORT = 6379
_TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs")
_SERVER_OPTIONS = ("db", "username", "password", "client_name", "protocol")
_SENTINEL_OPTIONS = ("db", "sentinel_username", "sentinel_password")
_UNESCAPED = "the password has a / ? or # that must be written as %2F, %3F or %23"
FORMS = (
    "redis://[user:password@]host:port/0, unix:///path?db=0, "
    "redis+sentinel://[user:password@]host:port,host:port/MASTER or "
    "redis+cluster://[user:password@]host:port,host:port (rediss for TLS)"
)


class InvalidRedisUrl(ValueError):
    """Not a URL of a Redis; the message says what one looks like. It never quotes a password."""


class Topology(StrEnum):
    SERVER = "server"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """`address`: the URL as it was given, with its password."""

    address: str = field(repr=False)
    topology: Topology
    hosts: tuple[tuple[str, int], ...] = ()
    """Of the server, the sentinels or some nodes of the cluster; none for a socket."""
    master: str = ""
    db: int = 0
    login: dict[str, Any] = field(default_factory=dict, repr=False)
    """`username` and `password` at the servers that hold data, as far as they are given."""
    sentinel_login: dict[str, Any] = field(default_factory=dict, repr=False)
    tls: dict[str, Any] = field(default_factory=dict)
    """What a client needs for TLS; empty where there is none."""

    @property
    def place(self) -> str:
        """Where it is, for people: without user and password."""
        hosts = ",".join(f"{host}:{port}" for host, port in self.hosts)
        match self.topology:
            case Topology.CLUSTER:
                return f"the cluster at {hosts}"
            case Topology.SENTINEL:
                return f"{self.master} of the sentinels at {hosts}"
            case Topology.SERVER:
                return hosts or urlsplit(self.address).path


def parse_redis_url(address: str) -> RedisUrl:
    """Read a URL of one of the `FORMS`.

    Raises:
        InvalidRedisUrl: it is not one.
    """
    try:
        parts = urlsplit(address)
        scheme, _, topology = parts.scheme.partition("+")
        if scheme in ("redis", _TLS) and topology == Topology.SENTINEL:
            return _sentinel(address, parts)
        if scheme in ("redis", _TLS) and topology == Topology.CLUSTER:
            return _cluster(address, parts)
        if parts.scheme in ("redis", _TLS, "unix"):
            return _server(address, parts)
        raise ValueError(f"it begins with {parts.scheme}://" if parts.scheme else "it has no ://")
    except ValueError as error:
        raise InvalidRedisUrl(f"not the URL of a Redis ({error}): write {FORMS}") from None


def _server(address: str, parts: SplitResult) -> RedisUrl:
    options = _options(parts, _SERVER_OPTIONS)
    if not all(options.get(name, "0").isdigit() for name in ("db", "protocol")):
        raise ValueError("db and protocol must be numbers")
    if parts.scheme == "unix":
        if not parts.path:
            raise ValueError("it names no socket")
        return RedisUrl(address, Topology.SERVER)
    if "," in parts.netloc.rpartition("@")[2]:
        raise ValueError("it names more than one host")
    if not (parts.path.strip("/") or "0").isdigit():
        raise ValueError("what follows the host must be the number of a database")
    return RedisUrl(address, Topology.SERVER, hosts=_hosts(parts, _REDIS_PORT))


def _sentinel(address: str, parts: SplitResult) -> RedisUrl:
    master = unquote(parts.path.strip("/"))
    if not master or "/" in master:
        raise ValueError("the name of the master must follow the sentinels: .../MASTER")
    options = _options(parts, _SENTINEL_OPTIONS)
    db = options.get("db", "0")
    if not db.isdigit():
        raise ValueError("db must be a number")
    login = {
        name.removeprefix("sentinel_"): options[name]
        for name in ("sentinel_username", "sentinel_password")
        if name in options
    }
    return RedisUrl(
        address,
        Topology.SENTINEL,
        hosts=_hosts(parts, _SENTINEL_PORT),
        master=master,
        db=int(db),
        login=_login(parts),
        sentinel_login=login,
        tls=_tls(parts, options),
    )


def _cluster(address: str, parts: SplitResult) -> RedisUrl:
    if parts.path.strip("/") not in ("", "0"):
        raise ValueError("a cluster has only database 0")
    return RedisUrl(
        address,
        Topology.CLUSTER,
        hosts=_hosts(parts, _REDIS_PORT),
        login=_login(parts),
        tls=_tls(parts, _options(parts, ())),
    )


def _hosts(parts: SplitResult, default_port: int) -> tuple[tuple[str, int], ...]:
    if "@" in parts.path:
        raise ValueError(_UNESCAPED)
    listed = [each for each in parts.netloc.rpartition("@")[2].split(",") if each]
    if not listed:
        raise ValueError("it names no host")
    hosts = []
    for each in listed:
        one = urlsplit(f"//{each}")
        if not one.hostname:
            raise ValueError("it names no host")
        hosts.append((one.hostname, _port(one) or default_port))
    return tuple(hosts)


def _port(host: SplitResult) -> int | None:
    try:
        return host.port
    except ValueError:
        # What stands there may be a piece of a password, so nobody quotes it.
        raise ValueError(f"a port is no number from 0 to 65535, or {_UNESCAPED}") from None


def _login(parts: SplitResult) -> dict[str, str]:
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    given = {"username": unquote(user), "password": unquote(password)}
    return {name: value for name, value in given.items() if value}


def _options(parts: SplitResult, known: tuple[str, ...]) -> dict[str, str]:
    allowed = (*known, *(_TLS_OPTIONS if parts.scheme.startswith(_TLS) else ()))
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name in options:
        if name not in allowed:
            raise ValueError(f"it has an option that is none of: {', '.join(allowed) or 'none'}")
    return options


def _tls(parts: SplitResult, options: dict[str, str]) -> dict[str, Any]:
    if not parts.scheme.startswith(_TLS):
        return {}
    return {"ssl": True, **{name: options[name] for name in _TLS_OPTIONS if name in options}}
