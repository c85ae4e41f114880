"""Proxies from the environment: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY.

httpx reads these variables too, and raises for a NO_PROXY that has an IPv6 network in it, such as `fd00::/8`, whatever
the server (httpx 0.28.1, `_utils.get_environment_proxies`). Every dual-stack cluster has one.
"""

from __future__ import annotations

import ipaddress
import logging
import re
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_SCHEMES: Final = ("http://", "https://", "socks5://", "socks5h://")
_HOST: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?", re.ASCII)
_BRACKETS: Final = re.compile(r"\[([^\[\]]+)\](?::(\d{1,5}))?", re.ASCII)
_PORT: Final = re.compile(r"\d{1,5}", re.ASCII)
_logger: Final = logging.getLogger("syncd.client")
_named: Final[set[str]] = set()


def proxy_for(server: str) -> str | None:
    """The URL of the proxy for `server`; None for a direct connection.

    An unreadable entry is ignored, and logged once.
    """
    proxies = getproxies_environment()
    parts = urlsplit(server)
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or _is_excluded(
        parts.hostname or "", parts.port or _DEFAULT_PORTS.get(parts.scheme), proxies.get("no", "")
    ):
        return None
    url = proxy if "://" in proxy else f"http://{proxy}"
    try:
        host = urlsplit(url).hostname if url.startswith(_SCHEMES) else None
    except ValueError:
        host = None
    if not host:
        _name(f"{parts.scheme.upper()}_PROXY", proxy)
        return None
    return url


def _is_excluded(host: str, port: int | None, no_proxy: str) -> bool:
    """Whether NO_PROXY has the host: as a name, a domain, an address or a network, with or without a port."""
    entries = (entry.strip().lower() for entry in no_proxy.split(","))
    return any(_matches(host.lower().rstrip("."), port, entry) for entry in entries if entry)


def _matches(host: str, port: int | None, entry: str) -> bool:
    if entry == "*":
        return True
    name, its_port = _split_port(entry)
    if its_port not in {None, port}:
        return False
    address, network = _address(host), _network(name)
    if network is not None:
        return address is not None and address.version == network.version and address in network
    name = name.removeprefix("*").removeprefix(".").rstrip(".")
    if not _HOST.fullmatch(name):
        _name("NO_PROXY", entry)
        return False
    return host == name or (address is None and host.endswith(f".{name}"))


def _split_port(entry: str) -> tuple[str, int | None]:
    """`host:port`, `address:port` or `[v6]:port` as both. A bare IPv6 address or network has no port."""
    if match := _BRACKETS.fullmatch(entry):
        return match[1], int(match[2]) if match[2] else None
    name, colon, port = entry.partition(":")
    return (name, int(port)) if colon and _PORT.fullmatch(port) else (entry, None)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None


def _name(variable: str, entry: str) -> None:
    """Log an unreadable entry once a process; a possible password in it is left out."""
    shown = entry.rpartition("@")[2][:80]
    if (key := f"{variable} {shown}") not in _named:
        _named.add(key)
        _logger.warning("%s has the entry %r, which cannot be read: it is ignored", variable, shown)
