"""Memory for packages is given back whatever happens."""

from __future__ import annotations

import pytest

from loadtests.benchmarks.loader.random_package import RandomPackage, random_package
from worker.agent.package_fetch import PackageFetch
from worker.agent.shelf import Shelf
from worker.loader.landing import OwnLanding


def nothing() -> None:
    """Nobody else reads it."""


def begun(landing: OwnLanding) -> PackageFetch:
    return PackageFetch("model.safetensors", landing, [], None, nothing)


def broken(_landing: OwnLanding) -> PackageFetch:
    raise OSError(24, "too many open files")


@pytest.fixture
def package() -> RandomPackage:
    return random_package()


def test_a_fetch_that_does_not_begin_takes_no_memory(package: RandomPackage) -> None:
    shelf = Shelf(limit_bytes=2 << 20, kept_bytes=0)
    for _ in range(3):
        with pytest.raises(OSError, match="open files"):
            shelf.take(package.index, package.header, broken)
    fetch, there = shelf.take(package.index, package.header, begun)
    assert not there
    shelf.let_go(fetch)
    shelf.close()
