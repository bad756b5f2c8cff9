"""Where names lead."""

from __future__ import annotations

import ipaddress

import pytest

from infra.address import is_loopback, outward_address


@pytest.mark.parametrize(
    ("host", "leads_back"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("localhost", True),
        ("10.0.0.1", False),
        ("host.example", False),
        ("", False),
    ],
)
def test_loopback_is_told_by_name(host: str, leads_back: bool) -> None:
    assert is_loopback(host) is leads_back


def test_our_outward_address_is_one_or_none() -> None:
    found = outward_address()
    assert found is None or ipaddress.ip_address(found)
