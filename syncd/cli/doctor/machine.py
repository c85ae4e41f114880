"""Checks of this machine: the record, its disk, clocks, certificates, private files, and the API's address."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx
import sqlalchemy as sa

from syncd.cli.doctor.checkup import Check, CheckResult
from syncd.config import Config, FcRuntimeSettings, OssTargetSettings, warnings
from syncd.errors import SyncdError, Unavailable
from syncd.state import schema_version
from syncd.state.access import processes, tokens
from syncd.state.db.schema import record_info
from syncd.state.state import State

CONNECT_S: Final = 5.0
SKEW_WARNING_S: Final = 60.0
SKEW_MAX_S: Final = 900.0  # signed requests of OSS and Function Compute are refused from here on
EXPIRY_WARNING_DAYS: Final = 21
TOKEN_WARNING_DAYS: Final = 7
DISK_FREE_MIN_BYTES: Final = 1 << 30
_CHMOD: Final = re.compile(r"run: chmod ([0-7]{3}) (/.+)$")
_MODULES: Final = {"fastcrc": "checksums", "blake3": "fingerprints of parts"}


def checks(config: Config, state: State, *, fix: bool) -> Iterator[Check]:
    """The checks of the machine, the record first."""
    place = state.url.render_as_string(hide_password=True)
    yield Check("record", place, lambda: _record(state, place))
    yield Check("clock", "the record", lambda: _record_clock(state))
    yield Check("tokens", "the record", lambda: _tokens(state))
    if (file := state.url.database) and state.url.get_backend_name() == "sqlite":
        yield Check("disk", str(Path(file).parent), lambda: _disk(Path(file).parent))
    yield Check("modules", "this machine", _modules)
    yield Check("settings", str(config.path), lambda: _settings(config, fix=fix))
    for name, url in _clocks(config):
        yield Check("clock", name, lambda name=name, url=url: _clock(name, url))  # type: ignore[misc]
    for name, url in _addresses(config):
        if url.startswith("https:"):
            yield Check("certificate", name, lambda name=name, url=url: _certificate(name, url))  # type: ignore[misc]
    if config.api.listen:
        yield Check("api", config.api.listen, lambda: _api(config, state))


def _record(state: State, place: str) -> Iterator[CheckResult]:
    """Reachable, of this schema, and writable."""
    schema_version.check(state)
    with state.write() as conn:
        now = state.now(conn)
        name = "doctor"
        conn.execute(sa.delete(record_info).where(record_info.c.name == name))
        conn.execute(sa.insert(record_info).values(name=name, value="", at=now))
        conn.execute(sa.delete(record_info).where(record_info.c.name == name))
        alive = processes.alive(conn, now)
    if len(alive) > 1:
        named = ", ".join(each.owner for each in alive)
        yield CheckResult(
            "record", place, f"{len(alive)} processes reported: {named}", "run one daemon on a record", "warning"
        )


def _record_clock(state: State) -> Iterator[CheckResult]:
    with state.read() as conn:
        yield from _skew("the record", state.now(conn).timestamp() - time.time())


def _tokens(state: State) -> Iterator[CheckResult]:
    """API tokens that have ended, or soon will."""
    with state.read() as conn:
        now = state.now(conn)
        found = tokens.ending(conn, now + timedelta(days=TOKEN_WARNING_DAYS))
    for name, ends_at in found:
        when = "ended" if ends_at <= now else "ends"
        cure = f"syncd token revoke {name}, then create another one, or do without"
        yield CheckResult("tokens", name, f"the token {when} at {ends_at:%Y-%m-%d %H:%MZ}", cure, "warning")


def _disk(directory: Path) -> Iterator[CheckResult]:
    free = shutil.disk_usage(directory).free if directory.exists() else DISK_FREE_MIN_BYTES
    if free < DISK_FREE_MIN_BYTES:
        what = f"{free >> 20} MiB are free, expected at least {DISK_FREE_MIN_BYTES >> 20} MiB"
        yield CheckResult("disk", str(directory), what, "free space, or move the record to a larger disk")


def _modules() -> Iterator[CheckResult]:
    for name, purpose in _MODULES.items():
        if find_spec(name) is None:
            yield CheckResult("modules", "this machine", f"{name} is missing: {purpose}", "pip install 'syncd[server]'")


def _settings(config: Config, *, fix: bool) -> Iterator[CheckResult]:
    """The warnings of `config check`. Modes of files that others can read are fixed on request: that is safe."""
    for problem in warnings(config):
        found = _CHMOD.search(problem.advice)
        is_fixed = bool(found and fix and _chmod(Path(found[2]), int(found[1], 8)))
        yield CheckResult("settings", problem.key, problem.found, problem.advice, "warning", is_fixed)


def _chmod(path: Path, mode: int) -> bool:
    try:
        path.chmod(mode)
    except OSError:
        return False
    return True


def _clocks(config: Config) -> Iterator[tuple[str, str]]:
    """Addresses whose signatures have a time: one for each of them."""
    found: dict[str, str] = {}
    for name, target in config.targets.items():
        if isinstance(target, OssTargetSettings):
            found.setdefault(target.endpoint, f"targets.{name}")
    for name, runtime in config.runtimes.items():
        found.setdefault(_endpoint(runtime), f"runtimes.{name}")
    yield from ((name, url) for url, name in found.items())


def _endpoint(runtime: FcRuntimeSettings) -> str:
    return f"{runtime.protocol}://{runtime.endpoint}"


def _addresses(config: Config) -> Iterator[tuple[str, str]]:
    yield from _clocks(config)
    for name, registry in config.registries.items():
        for field in ("url", "endpoint", "oss_endpoint"):
            if url := str(getattr(registry, field, "") or ""):
                yield f"registries.{name}", url
    for name, hook in config.hooks.items():
        if url := str(getattr(hook, "url", "") or ""):
            yield f"hooks.{name}", url


def _clock(name: str, url: str) -> Iterator[CheckResult]:
    """Compare the clock of this machine with the `Date` of the service's answer, whatever the answer is."""
    began = time.time()
    try:
        answer = httpx.get(url, timeout=CONNECT_S, follow_redirects=False)
    except httpx.HTTPError as error:
        message = f"{url} does not answer: {type(error).__name__}"
        raise Unavailable(message, hint="check the endpoint, DNS, and the network from here to it") from error
    try:
        date = parsedate_to_datetime(answer.headers["date"])
    except (KeyError, ValueError):
        return
    yield from _skew(name, date.timestamp() - (began + time.time()) / 2)


def _skew(where: str, skew_s: float) -> Iterator[CheckResult]:
    if abs(skew_s) < SKEW_WARNING_S:
        return
    what = f"its clock is {abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} this machine's"
    cure = "run an NTP client here; signed requests are refused from 900 s on"
    yield CheckResult("clock", where, what, cure, "wrong" if abs(skew_s) >= SKEW_MAX_S else "warning")


def _certificate(name: str, url: str) -> Iterator[CheckResult]:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 443
    try:
        context = ssl.create_default_context()
        with (
            socket.create_connection((host, port), CONNECT_S) as plain,
            context.wrap_socket(plain, server_hostname=host) as line,
        ):
            shown = line.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        cure = "renew the certificate, or trust its authority with SSL_CERT_FILE"
        yield CheckResult("certificate", name, f"{host}:{port}: {error.verify_message}", cure)
        return
    except OSError as error:
        raise Unavailable(f"{host}:{port} does not answer: {error.strerror or error}") from error
    ends_s = ssl.cert_time_to_seconds(str(shown["notAfter"]))
    days = (ends_s - time.time()) / 86400
    if days < EXPIRY_WARNING_DAYS:
        ends = datetime.fromtimestamp(ends_s, UTC).date()
        what = f"the certificate of {host}:{port} ends on {ends}, in {days:.0f} days"
        yield CheckResult("certificate", name, what, "renew it", "warning")


def _api(config: Config, state: State) -> Iterator[CheckResult]:
    """Where a daemon works, its API answers; where none does, the address is free."""
    listen = config.api.listen
    host, _, port = listen.rpartition(":")
    try:
        with state.read() as conn:
            is_alive = bool(processes.alive(conn, state.now(conn)))
    except SyncdError:  # a finding of the record
        return
    reached = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104 -- compared
    try:
        status = httpx.get(f"http://{reached}:{port}/healthz", timeout=CONNECT_S, trust_env=False).status_code
    except httpx.HTTPError:
        if is_alive:
            cure = "check the daemon's log; on another machine, run doctor there"
            yield CheckResult("api", listen, "a daemon works on the record, and its API does not answer", cure)
        return
    if not is_alive:
        cure = "end the program that listens there, or change api.listen"
        yield CheckResult("api", listen, f"no daemon works on the record, and something answers there ({status})", cure)
    elif status != httpx.codes.OK:
        yield CheckResult("api", listen, f"/healthz answers {status}", "restart the daemon; nothing is lost")
