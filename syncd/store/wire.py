"""HTTP connections to a store that notice silence, and that can be left in the middle of a body: see `pieces`."""

from __future__ import annotations

from typing import Any, Final

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

from syncd.store.pieces import send_in_pieces

CONNECT_S: Final = 10.0  # an address that does not answer by then is not there
_SMALL_BYTES: Final = 64 << 10


class Wire(HTTPAdapter):
    """Keeps up to `connections` connections for each host. Safe from several threads."""

    def __init__(self, connections: int) -> None:
        super().__init__(pool_connections=connections, pool_maxsize=connections)

    def init_poolmanager(self, *sizes: Any, **settings: Any) -> None:
        """See `HTTPAdapter`."""
        super().init_poolmanager(*sizes, **settings)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **settings: Any) -> Any:
        """See `HTTPAdapter`."""
        manager = super().proxy_manager_for(proxy, **settings)
        manager.pool_classes_by_scheme = _POOLS
        return manager


def is_silence(error: BaseException | None) -> bool:
    """Whether it comes from a socket on which nothing moved."""
    while error is not None:
        if isinstance(error, TimeoutError | urllib3.exceptions.TimeoutError | requests.Timeout):
            return True
        error = error.__cause__ or error.__context__
    return False


def told(error: Exception, silence_s: float) -> Exception:
    """What to say instead of `error`, where all that happened is that nothing did."""
    if isinstance(error, requests.ConnectTimeout):
        return requests.ConnectTimeout(f"no connection within {min(silence_s, CONNECT_S):g} s")
    return requests.ReadTimeout(f"no byte for {silence_s:g} s") if is_silence(error) else error


class _InPieces(HTTPConnection):
    def connect(self) -> None:
        silence_s = self.timeout
        self.timeout = CONNECT_S if silence_s is None else min(silence_s, CONNECT_S)
        try:
            super().connect()
        finally:
            self.timeout = silence_s
        self.sock.settimeout(silence_s)

    def send(self, data: Any) -> None:
        if len(data) <= _SMALL_BYTES:
            super().send(data)
            return
        send_in_pieces(self.sock, data)


class _SecureInPieces(_InPieces, HTTPSConnection):
    pass


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _InPieces


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _SecureInPieces


_POOLS: Final = {"http": _Pool, "https": _SecurePool}
