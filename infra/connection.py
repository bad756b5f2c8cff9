"""Connections to Redis and Valkey, made in one way: bytes in and out, bounded waits, one retry.

Behind a connection is one server, the primary that sentinels name, or a cluster. What differs is
here: everybody else gets a `RedisClient` and sends commands on one key each, or pipelines of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, cast

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode, ClusterPipeline
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import AuthenticationError, ClusterError, RedisClusterException, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from infra.redis_url import RedisUrl, Topology, parse_redis_url

_CONNECT_LIMIT_S = 5.0
LONGEST_WAIT_S = 5.0
"""Of one blocking read; who waits for longer reads again."""
_REPLY_LIMIT_S = 2 * LONGEST_WAIT_S
"""A server that vanished without a word is noticed after it."""
_SENTINEL_LIMIT_S = 1.0
"""A sentinel that says nothing for so long is passed over: there are others."""
_CONNECTIONS_TO_A_NODE = 10_000
"""Each blocking read has one of its own."""

REDIS_AWAY = (RedisError, OSError)
"""What a Redis that is away, loading, full or slow raises; all of it is worth another try."""

_KEYS_AT_ONCE = 500
"""Of one command: others are served in between."""

RedisClient = Redis | RedisCluster


class _Sentinels(Sentinel):
    """Say in words that they name no master."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        try:
            found: tuple[str, int] = await super().discover_master(service_name)
        except MasterNotFoundError as error:
            if "AuthenticationError" in str(error):
                raise AuthenticationError("said a sentinel") from None
            raise MasterNotFoundError(
                f"no sentinel answers that knows a master {service_name!r} which is up"
            ) from None
        return found


class _Primary(Redis):
    """The primary that sentinels name; each new connection asks them who it is."""

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await super().aclose(close_connection_pool)
        pool: Any = self.connection_pool
        await pool.sentinel_manager.aclose()


class _Cluster(RedisCluster):
    """Complains in `RedisError`s, as every other client does."""

    async def initialize(self, *args: Any, **options: Any) -> RedisCluster:
        with _as_redis_error():
            return await super().initialize(*args, **options)

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        with _as_redis_error():
            return await super().execute_command(*args, **options)

    def get_node_from_key(self, key: str, replica: bool = False) -> ClusterNode | None:
        with _as_redis_error():
            return super().get_node_from_key(key, replica)

    def pipeline(self, *args: Any, **options: Any) -> ClusterPipeline:
        complaining: Any = _ClusterPipeline
        return cast(ClusterPipeline, complaining(self, *args, **options))


class _ClusterPipeline(ClusterPipeline):
    """Complains as its cluster does."""

    async def execute(self, *args: Any, **options: Any) -> list[Any]:
        with _as_redis_error():
            return await super().execute(*args, **options)


@contextlib.contextmanager
def _as_redis_error() -> Iterator[None]:
    try:
        yield
    except RedisClusterException as error:
        raise ClusterError(str(error)) from error
    except AttributeError as error:
        if "'NoneType'" not in str(error):
            raise
        # A node that goes away is disconnected while another task still greets it (redis-py 8).
        raise RedisConnectionError(f"the connection was closed meanwhile ({error})") from error


def connect(url: str) -> RedisClient:
    """A client for one of the forms of `redis_url`; it connects at its first command.

    A command that fails because the connection broke is sent once more on a new connection, so
    every command we send must be safe to repeat.

    Raises:
        InvalidRedisUrl: the URL is none of the forms.
    """
    parsed = parse_redis_url(url)
    match parsed.topology:
        case Topology.SENTINEL:
            return _behind_sentinels(parsed)
        case Topology.CLUSTER:
            return _cluster(parsed)
        case Topology.SERVER:
            return Redis.from_url(url, **_manners())


def _manners() -> dict[str, Any]:
    return {
        "decode_responses": False,
        "socket_connect_timeout": _CONNECT_LIMIT_S,
        "socket_timeout": _REPLY_LIMIT_S,
        "health_check_interval": 15,
        "retry": Retry(ExponentialBackoff(cap=1.0, base=0.05), retries=1),
        "retry_on_error": [RedisConnectionError, RedisTimeoutError],
    }


def _behind_sentinels(url: RedisUrl) -> Redis:
    asking = {
        "socket_connect_timeout": _SENTINEL_LIMIT_S,
        "socket_timeout": _SENTINEL_LIMIT_S,
        "retry": Retry(NoBackoff(), retries=0),
        **url.sentinel_login,
        **url.tls,
    }
    sentinels: Any = _Sentinels
    manager = sentinels(list(url.hosts), sentinel_kwargs=asking, **_manners(), **url.tls)
    return cast(Redis, manager.master_for(url.master, _Primary, db=url.db, **url.login))


def _cluster(url: RedisUrl) -> RedisCluster:
    return _Cluster(
        startup_nodes=[ClusterNode(host, port) for host, port in url.hosts],
        max_connections=_CONNECTIONS_TO_A_NODE,
        **_manners(),
        **url.login,
        **url.tls,
    )


async def at_key(redis: RedisClient, key: str, *command: str | int | bytes) -> Any:
    """Run a command on the server that keeps `key`, whatever the command's own keys are.

    For commands of which a cluster's client would first ask a server where their keys stand (FCALL,
    XREAD), and for those that have none.
    """
    if isinstance(redis, Redis):
        return await redis.execute_command(*command)  # type: ignore[no-untyped-call]
    try:
        return await _at_owner(redis, key, command)
    except (RedisConnectionError, RedisTimeoutError):
        return await _at_owner(redis, key, command)


async def _at_owner(redis: RedisCluster, key: str, command: tuple[str | int | bytes, ...]) -> Any:
    await redis.initialize()
    return await redis.execute_command(*command, target_nodes=redis.get_node_from_key(key))


async def at_primaries(redis: RedisClient, *command: str | int | bytes) -> list[Any]:
    """The replies of every primary of a cluster, or of the only server."""
    if isinstance(redis, Redis):
        return [await redis.execute_command(*command)]  # type: ignore[no-untyped-call]
    await redis.initialize()
    primaries = redis.get_primaries()
    return [await redis.execute_command(*command, target_nodes=each) for each in primaries]


async def get_many(redis: RedisClient, keys: Sequence[str]) -> list[bytes | None]:
    """The values of these keys, in their order: by as few commands as the topology allows."""
    found: list[bytes | None] = []
    for first in range(0, len(keys), _KEYS_AT_ONCE):
        some = list(keys[first : first + _KEYS_AT_ONCE])
        if isinstance(redis, Redis):
            found += cast(list[bytes | None], await redis.mget(some))
            continue
        async with redis.pipeline(transaction=False) as pipe:  # MGET stops at a shard's edge
            for key in some:
                pipe.get(key)
            found += await pipe.execute()
    return found


StreamEntry = tuple[bytes, dict[bytes, bytes]]


async def read_stream(
    redis: RedisClient, key: str, after: bytes, count: int, timeout_s: float
) -> list[StreamEntry]:
    """Entries of one stream past `after`, oldest first; waits up to `timeout_s`, and at most
    `LONGEST_WAIT_S`, for the first."""
    wait_ms = max(1, int(min(timeout_s, LONGEST_WAIT_S) * 1000))
    reply: Any = await at_key(
        redis, key, "XREAD", "BLOCK", wait_ms, "COUNT", count, "STREAMS", key, after
    )
    if not reply:
        return []
    [(_, entries)] = reply.items() if isinstance(reply, dict) else reply
    return cast(list[StreamEntry], entries)
