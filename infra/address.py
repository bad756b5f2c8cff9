"""Where a host name leads, as far as the name itself tells; where we are, as others see it."""

from __future__ import annotations

import ipaddress
import socket


def is_loopback(host: str) -> bool:
    """False for any name but `localhost`: where it leads is for somebody else to decide."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def outward_address() -> str | None:
    """The address with which this machine goes out into its network; None where it has no way out.

    Nothing is sent: a datagram socket that is connected only picks its route.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # of no machine: set aside for documents (RFC 5737)
        except OSError:
            return None
        address: str = probe.getsockname()[0]
        return address
