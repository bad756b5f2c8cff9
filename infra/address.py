"""Where a host name leads, as far as the name itself tells."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """False for any name but `localhost`: where it leads is for somebody else to decide."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
