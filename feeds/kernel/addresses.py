"""Tells which IP addresses belong to the open Internet. Pure; never resolves a name.

``ipaddress.is_global`` is not enough: Python 3.11 calls ``64:ff9b::7f00:1`` and ``2002:7f00:1::``
global although both reach 127.0.0.1. Called by :mod:`feeds.kernel.dialler` for every address.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

# Not reachable as a public service although some Python versions call them global.
_BAD_V4 = tuple(
    IPv4Network(net)
    for net in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
        "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    )
)  # fmt: skip
# Everything public in IPv6 lies in 2000::/3; these parts of it lead elsewhere (Teredo, 6to4, documentation).
_PUBLIC_V6 = IPv6Network("2000::/3")
_BAD_V6 = tuple(IPv6Network(net) for net in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))


def is_public_address(address: str | IPv4Address | IPv6Address) -> bool:
    """Say whether an address is a public unicast one; anything unreadable is not.

    IPv4 inside IPv6 is unwrapped where the wrapping is only notation (``::ffff:a.b.c.d``); every
    other embedding (``::a.b.c.d``, NAT64, 6to4, Teredo) and every scoped address is refused.

    Source: IANA special-purpose address registries; CVE-2024-4032 for what ``is_global`` misses.
    """
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, IPv6Address):
        return _is_public_v6(ip)
    return ip.is_global and not any(ip in net for net in _BAD_V4)


def _is_public_v6(ip: IPv6Address) -> bool:
    if ip.scope_id is not None:
        return False
    if ip.ipv4_mapped is not None:
        return is_public_address(ip.ipv4_mapped)
    return ip in _PUBLIC_V6 and not any(ip in net for net in _BAD_V6)
