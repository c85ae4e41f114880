"""Local cloud: one port per region, with a shared account, fault script and call counters."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from syncd.localcloud.account import Account, AccountKey
from syncd.localcloud.counters import Counters
from syncd.localcloud.faults import FaultRule, FaultScript
from syncd.localcloud.httpd import Handler, HttpServer, ServerRequest, ServerResponse
from syncd.localcloud.oss.region import OssRegion
from syncd.localcloud.oss.storage.region_store import RegionStore

FC_PREFIX = "/2023-03-30/"
LOCAL_PREFIX = "/_local/"


@dataclass(slots=True)
class RegionContext:
    """Dependencies of a region's service. `root` is its own directory, which survives restarts."""

    region: str
    root: Path
    account: Account
    faults: FaultScript
    counters: Counters
    clock: Callable[[], float]
    oss: Mapping[str, OssRegion]  # by region: a mount may use another region's bucket
    # Called in reverse when the cloud stops accepting requests; handlers may still run.
    on_stop: list[Callable[[], None]] = field(default_factory=list)


FcFactory = Callable[[RegionContext], Handler]


@dataclass
class LocalCloud:
    """OSS and FC of several regions on loopback, with their state under `root`.

    `ports` fixes the port of a region; other regions get a free port at each `start`. `clock` gives POSIX
    seconds. Call `start` and `stop` from one thread. After a stop or a kill, `start` finds everything that
    was acknowledged.
    """

    root: Path
    regions: Sequence[str]
    ports: Mapping[str, int] | None = None
    access_key_id: str = "local-access-key"
    access_key_secret: str = field(default="local-access-secret", repr=False)
    account_id: str = "1234567890123456"
    oss_domain: str = "oss.local"
    temporary_credentials: tuple[AccountKey, ...] = ()
    fc: FcFactory | None = None
    clock: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        own = AccountKey(self.access_key_id, self.access_key_secret)
        self.account = Account(self.account_id, (own, *self.temporary_credentials))
        self.faults = FaultScript()
        self.counters = Counters()
        self.oss: dict[str, OssRegion] = {}
        self._servers: dict[str, HttpServer] = {}
        self._contexts: list[RegionContext] = []

    @property
    def oss_domains(self) -> tuple[str, ...]:
        """Domains for virtual-hosted buckets."""
        return (self.oss_domain, "localhost")

    def endpoint(self, region: str) -> str:
        """`http://127.0.0.1:<port>` of a started region. Raises KeyError for any other."""
        return f"http://127.0.0.1:{self._servers[region].port}"

    def start(self) -> None:
        """Open the state and serve.

        Raises:
            OSError: A port is taken, or another process has the state open. Nothing is left running.
        """
        self.faults.resume()
        stores: dict[str, RegionStore] = {}
        try:
            for region in self.regions:
                store = RegionStore.open(self.root / region / "oss", region, self.account_id, self.oss_domain)
                stores[region] = store
                store.peers = stores
                self.oss[region] = OssRegion(store, self)
            for region in self.regions:
                self._serve(region)
        except OSError:
            self.stop()
            raise

    def _serve(self, region: str) -> None:
        fc_root = self.root / region / "fc"
        fc_root.mkdir(parents=True, exist_ok=True)
        context = RegionContext(region, fc_root, self.account, self.faults, self.counters, self.clock, self.oss)
        self._contexts.append(context)
        fc = self.fc(context) if self.fc is not None else None
        server = HttpServer(self._router(region, fc), port=(self.ports or {}).get(region, 0))
        server.start()
        self._servers[region] = server
        self.oss[region].store.port = server.port

    def stop(self) -> None:
        """Cut open connections, end every thread, close every file. Idempotent."""
        self.faults.release()
        for server in self._servers.values():
            server.hang_up()
        # Stop what handlers may wait for, such as a function's process, before waiting for the handlers.
        for context in reversed(self._contexts):
            for callback in reversed(context.on_stop):
                callback()
        self._contexts.clear()
        for server in self._servers.values():
            server.stop()
        self._servers.clear()
        for oss in self.oss.values():
            oss.close()
        self.oss.clear()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _router(self, region: str, fc: Handler | None) -> Handler:
        oss = self.oss[region]

        def route(request: ServerRequest) -> ServerResponse:
            if request.path.startswith(LOCAL_PREFIX):
                return self._local(region, request)
            if fc is not None and _is_fc(request):
                return fc(request)
            return oss.handle(request)

        return route

    def _local(self, region: str, request: ServerRequest) -> ServerResponse:
        match request.method, request.path.removeprefix(LOCAL_PREFIX):
            case "GET", "health":
                return _json({"status": "ok", "region": region, "regions": list(self.regions)})
            case "GET", "counters":
                return _json(self.counters.to_dict())
            case "DELETE", "counters":
                self.counters.clear()
                return ServerResponse(204)
            case "GET", "faults":
                return _json(self.faults.to_list())
            case "DELETE", "faults":
                self.faults.clear()
                return ServerResponse(204)
            case "POST", "faults":
                return self._add_faults(request)
            case _:
                return _json({"error": "no such page"}, 404)

    def _add_faults(self, request: ServerRequest) -> ServerResponse:
        """One rule, or a list of them."""
        try:
            plain = json.loads(request.body.read())
            rules = [FaultRule.from_dict(rule) for rule in (plain if isinstance(plain, list) else [plain])]
        except ValueError as error:
            return _json({"error": str(error)}, 400)
        self.faults.add(*rules)
        return _json({"added": len(rules)}, 201)


def _is_fc(request: ServerRequest) -> bool:
    signed = request.headers.get("authorization").startswith("ACS3-") or any(
        name.lower().startswith("x-acs-") for name, _ in request.headers.items()
    )
    return signed and request.path.startswith(FC_PREFIX)


def _json(content: object, status: int = 200) -> ServerResponse:
    return ServerResponse(status, [("Content-Type", "application/json")], json.dumps(content).encode())
