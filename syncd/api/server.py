"""HTTP server in the daemon's process: a thread with its own event loop, so that neither blocks the other."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import structlog
import uvicorn
from starlette.routing import BaseRoute

from syncd.api.app import app_of
from syncd.api.dependencies import Dependencies, Server
from syncd.api.limits.connections import BoundedProtocol, ConnectionTable
from syncd.api.limits.refused_callers import RefusedCallers
from syncd.api.webhooks.webhooks import webhooks_of
from syncd.config import Config
from syncd.daemon.health import Health
from syncd.errors import Invalid, Unavailable
from syncd.reconcile.context import Context

log = structlog.get_logger("syncd.api")

STOP_S: Final = 5  # time for requests in progress to end; whole seconds, as uvicorn expects
START_S: Final = 30.0
KEEP_ALIVE_S: Final = 30
HEAD_MAX_BYTES: Final = 32 << 10
_BACKLOG: Final = 512
_ACCEPTED_AT_ONCE: Final = 32  # an eighth of CONNECTIONS_MAX: a newcomer is served long before it is the oldest
_SOCKET_BYTES: Final = 32 << 10  # of each direction; the kernel doubles it, and counts it as memory of the container


class ApiServer:
    """Serves the API on one address. `start` and `stop` are called from one thread, once each in this order."""

    def __init__(
        self,
        site: Dependencies,
        listen: str,
        trusted_proxies: tuple[str, ...] = (),
        pages: Sequence[BaseRoute] = (),
    ) -> None:
        self._listen = listen
        refused = RefusedCallers()
        table = ConnectionTable(trusted_proxies, lambda address: refused.note("too many connections", "", address))
        self._app = app_of(site, refused, pages)
        self._server = uvicorn.Server(_settings(self._app, table, trusted_proxies))
        self._thread: threading.Thread | None = None
        self.address = ""  # after `start`: the URL, with the port that was chosen for 0

    def start(self) -> None:
        """Listen, and return once requests are served.

        Raises:
            Invalid: syncd cannot listen on the address.
            Unavailable: The server did not start.
        """
        listener = _listening(self._listen)
        host, port = listener.getsockname()[:2]
        self.address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._thread = threading.Thread(target=self._server.run, args=([listener],), name="api", daemon=True)
        self._thread.start()
        waited = threading.Event()
        for _ in range(int(START_S / 0.01)):
            if self._server.started or not self._thread.is_alive():
                break
            waited.wait(0.01)
        if not self._server.started:
            listener.close()
            raise Unavailable("the API's server did not start", hint="see the log lines above")
        listener.listen(_BACKLOG)  # uvicorn made it as short as what asyncio accepts in one go
        log.info("server.listening", message="The API serves requests.", address=self.address)

    def stop(self) -> None:
        """End event streams, let requests in progress end, and stop. Repeating it succeeds."""
        thread = self._thread
        if thread is None:
            return
        self._thread = None
        server = self._app.state.server
        assert isinstance(server, Server)
        if thread.is_alive():
            server.loop.call_soon_threadsafe(server.stopping.set)
        self._server.should_exit = True
        thread.join()


def api_of(config: Config, context: Context, pulse: Health, pages: Sequence[BaseRoute] = ()) -> ApiServer:
    """Build the server of a daemon, with `pages` beside the API.

    Raises Invalid if a configured certificate cannot be read.
    """
    site = Dependencies(
        world=context,
        hooks=webhooks_of(config),
        pulse=pulse,
        wake=context.wake.set,
        private_paths=_private_paths(config),
    )
    return ApiServer(site, config.api.listen, config.api.trusted_proxies, pages)


def _private_paths(config: Config) -> dict[str, str]:
    """Paths of this machine that errors name, and the settings that they come from."""
    named = {str(config.path.parent): "the configuration's directory", str(config.path): "the configuration"}
    for section, tables in (("registries", config.registries), ("targets", config.targets)):
        for name, table in tables.items():
            if isinstance(path := getattr(table, "path", None), Path):
                named[str(path)] = f"{section}.{name}"
    for key, secret in config.named_secrets():
        if secret.is_renewable:
            named[secret.source] = ".".join(key)
    if config.state.url.startswith("sqlite"):
        named[str(config.state.connect_url.database)] = "the record"
    return {path: name for path, name in named.items() if len(path) > 1}


def _settings(app: object, table: ConnectionTable, trusted_proxies: tuple[str, ...]) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        loop="asyncio",
        http=partial(BoundedProtocol, table=table),  # type: ignore[arg-type]
        backlog=_ACCEPTED_AT_ONCE,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="error",  # its warnings are one line for each malformed request
        access_log=False,
        server_header=False,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(trusted_proxies),
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_S,
        h11_max_incomplete_event_size=HEAD_MAX_BYTES,
    )


def _listening(listen: str) -> socket.socket:
    host, _, port = listen.rpartition(":")
    try:
        ((family, kind, protocol, _, address), *_) = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM
        )
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise Invalid(f"api.listen: {listen}: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):  # accepted sockets inherit both
            listener.setsockopt(socket.SOL_SOCKET, buffer, _SOCKET_BYTES)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise Invalid(f"api.listen: {listen}: {error.strerror}", hint="another process may listen there") from error
    listener.set_inheritable(False)
    return listener
