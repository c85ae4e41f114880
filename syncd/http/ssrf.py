"""SSRF guard: a registry may redirect to other hosts, but not to this machine, link-local addresses, or metadata.

A redirect, or an address in a listing, is foreign input. Cloud machines serve credentials on such addresses, and
services on this machine trust local connections.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Final

from syncd.errors import Invalid, Unavailable

Lookup = Callable[[str], Sequence[str]]
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_METADATA: Final = frozenset(
    ipaddress.ip_address(address)
    for address in ("100.100.100.200", "fd00:ec2::254", "168.63.129.16", "192.0.0.192")  # of four clouds
)
# Networks whose addresses end in an IPv4 address that a gateway may forward to: NAT64, global and local, and
# IPv4-compatible addresses.
_IPV4_BEHIND: Final = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "::/96")))


def lookup(host: str) -> Sequence[str]:
    """Every address of a host; an address is its own.

    Raises:
        Unavailable: The name does not resolve now.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unavailable(f"{host}: {error}", hint="does the name resolve on this machine?") from error
    return tuple(dict.fromkeys(str(each[4][0]) for each in found))


class AddressGuard:
    """The addresses allowed for a registry at `host`. Loopback only if the registry itself is there."""

    def __init__(self, host: str, lookup: Lookup = lookup) -> None:
        self._host = host
        self._lookup = lookup

    def check_host(self, host: str) -> None:
        """Resolve a name and check its addresses, before anything is sent.

        Raises:
            Invalid: One of its addresses is forbidden; the message has both.
            Unavailable: The name does not resolve now.
        """
        for address in self._lookup(host):
            self.check_address(host, address)

    def check_address(self, host: str, address: str) -> None:
        """Raises Invalid: `address`, of `host`, is forbidden."""
        faults = (_problem(each, loopback_is_home=self._at_home) for each in _meant(_parsed(address)))
        reason = next(filter(None, faults), "")
        if reason:
            raise Invalid(
                f"the registry redirects to {host}, {address}: {reason}",
                hint="a response of the registry has this address; nothing was read from there",
            )

    @cached_property
    def _at_home(self) -> bool:
        return any(_parsed(address).is_loopback for address in self._lookup(self._host))


def _parsed(address: str) -> _Address:
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def _meant(address: _Address) -> Iterator[_Address]:
    """An address, and the IPv4 address that a gateway may derive from it."""
    yield address
    if isinstance(address, ipaddress.IPv6Address) and not (address.is_loopback or address.is_unspecified):
        if any(address in network for network in _IPV4_BEHIND):
            yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if address.sixtofour is not None:
            yield address.sixtofour


def _problem(address: _Address, *, loopback_is_home: bool) -> str:
    checks = (
        (address in _METADATA or address.is_link_local, "a metadata service or a link-local address"),
        (address.is_unspecified or address.is_multicast, "not the address of a server"),
        (address.is_loopback and not loopback_is_home, "this machine itself"),
    )
    return next((reason for wrong, reason in checks if wrong), "")
