"""A Redis URL says where Redis is, or is refused with what one looks like."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis, RedisCluster, SSLConnection
from redis.asyncio.sentinel import SentinelManagedSSLConnection

from infra.connection import connect
from infra.redis_url import InvalidRedisUrl, Topology, parse_redis_url


def test_sentinels_and_the_name_of_their_master_are_read() -> None:
    url = parse_redis_url(
        "redis+sentinel://ada:p%40ss@s1:1000,s2,[::1]:1002/mine?db=2&sentinel_password=other"
    )
    assert url.topology is Topology.SENTINEL
    assert url.hosts == (("s1", 1000), ("s2", 26379), ("::1", 1002))
    assert (url.master, url.db, url.tls) == ("mine", 2, {})
    assert url.login == {"username": "ada", "password": "p@ss"}
    assert url.sentinel_login == {"password": "other"}


def test_nodes_of_a_cluster_are_read() -> None:
    url = parse_redis_url("rediss+cluster://:word@a:7000,b/0?ssl_ca_certs=/ca.pem")
    assert url.topology is Topology.CLUSTER
    assert url.hosts == (("a", 7000), ("b", 6379))
    assert url.login == {"password": "word"}
    assert url.tls == {"ssl": True, "ssl_ca_certs": "/ca.pem"}


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("redis://me:word@host", "host:6379"),
        ("rediss://host:7000/3", "host:7000"),
        ("unix:///run/valkey.sock?db=0", "/run/valkey.sock"),
        ("redis+sentinel://:word@a,b:1/mine", "mine of the sentinels at a:26379,b:1"),
        ("redis+cluster://:word@a,b:1", "the cluster at a:6379,b:1"),
    ],
)
def test_a_place_is_told_without_its_password(address: str, place: str) -> None:
    url = parse_redis_url(address)
    assert url.place == place
    assert "word" not in repr(url)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("localhost:6379", "it begins with localhost://"),
        ("localhost", "it has no ://"),
        ("http://host", "it begins with http://"),
        ("redis://host:port", "(?i)port"),
        ("redis://host?db=one", "db and protocol must be numbers"),
        ("redis://host?timeout=1", "none of: db"),
        ("redis://a,b", "more than one host"),
        ("redis+sentinel://a:1", "name of the master"),
        ("redis+sentinel://a:1/mine/0", "name of the master"),
        ("redis+sentinel:///mine", "no host"),
        ("redis+sentinel://a/mine?db=one", "db must be a number"),
        ("redis+sentinel://a/mine?timeout=1", "none of: db"),
        ("redis+cluster://", "no host"),
        ("redis+cluster://a/3", "only database 0"),
        ("redis+cluster://a?ssl_ca_certs=x", "none of: none"),
        ("unix+cluster://a", r"unix\+cluster://"),
    ],
)
def test_what_is_no_url_is_refused_with_the_forms(address: str, said: str) -> None:
    with pytest.raises(InvalidRedisUrl, match=said) as refused:
        parse_redis_url(address)
    assert "redis+sentinel://[user:password@]host:port,host:port/MASTER" in str(refused.value)


@pytest.mark.parametrize(
    "form", ["redis://{}@a", "redis+sentinel://{}@a/m", "redis+cluster://{}@a"]
)
@pytest.mark.parametrize(
    "password", ["se/cret", "se?cret", "se#cret", "1?cret", "1?cret=2", "1/cret"]
)
def test_no_piece_of_a_password_is_quoted(form: str, password: str) -> None:
    """However it was forgotten to escape it."""
    try:
        told = repr(parse_redis_url(form.format(f"me:{password}")))
    except InvalidRedisUrl as refused:
        told = str(refused)
    assert "se/" not in told
    assert "cret" not in told
    assert "'se'" not in told


async def test_each_topology_has_its_client_with_tls_where_the_url_says_so() -> None:
    cluster = connect("rediss+cluster://a:1")
    assert isinstance(cluster, RedisCluster)
    assert cluster.get_connection_kwargs()["connection_class"] is SSLConnection
    primary = connect("rediss+sentinel://a:1/mine")
    assert isinstance(primary, Redis)
    assert primary.connection_pool.connection_class is SentinelManagedSSLConnection
    for client in (cluster, primary):
        await client.aclose()
