"""Weak settings: allowed, but others can read a secret, guess it, or reach what they should not."""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from syncd.config.fields import shown
from syncd.config.problems import KeyPart, Problem, key_path
from syncd.config.registries import OssRegistrySettings, PaiRegistrySettings, RegistrySettings
from syncd.config.targets import OssTargetSettings
from syncd.config.values import AnyHookSettings, Config, EventBridgeHookSettings
from syncd.secret import Secret

HOOK_SECRET_BYTES_MIN: Final = 16  # 128 bits where they are random; a shorter one can be tried out from one delivery
_PREFIX_MIN: Final = {4: 8, 6: 7}  # the widest private networks: 10.0.0.0/8 and fc00::/7
_RECORD_FILES: Final = ("", "-wal", "-shm", ".lock", ".upgrade")


def weak_settings(config: Config) -> Iterator[Problem]:
    """Every weak setting. Looks at the modes of secret files and of the record, and opens none of them."""
    yield from _secret_files(config)
    yield from _hook_secrets(config)
    yield from _plain_http(config)
    yield from _listener(config)
    yield from _record(config)
    for name, hook in sorted(config.hooks.items()):
        if isinstance(hook, EventBridgeHookSettings) and not (hook.certificate or hook.region or config.regions()):
            advice = "set the region of EventBridge whose certificate is trusted; until then every delivery is refused"
            yield Problem(key_path("hooks", name, "region"), "nothing", advice)


def _secret_files(config: Config) -> Iterator[Problem]:
    for key, secret in config.named_secrets():
        if secret.is_renewable:  # it comes from a file
            path = Path(secret.source)
            mode = _open_to_others(path)
            if mode is not None:
                advice = f"others can read it; run: chmod 600 {path}"
                yield Problem(key_path(*key), f"a file with the mode {mode:04o}", advice)


def _hook_secrets(config: Config) -> Iterator[Problem]:
    for name, hook in sorted(config.hooks.items()):
        for field, secret in (("secret", hook.secret), ("secret_before", hook.secret_before)):
            size = HOOK_SECRET_BYTES_MIN if secret is None else _size_bytes(hook, secret)
            if size < HOOK_SECRET_BYTES_MIN:
                advice = f"expected at least {HOOK_SECRET_BYTES_MIN} bytes, for example from: openssl rand -base64 32"
                yield Problem(key_path("hooks", name, field), f"a secret of {size} bytes", advice)


def _size_bytes(hook: AnyHookSettings, secret: Secret) -> int:
    text = secret.reveal()
    return len(base64.b64decode(text.removeprefix("whsec_")) if hook.kind == "standard" else text.encode())


def _plain_http(config: Config) -> Iterator[Problem]:
    """Addresses that get credentials without encryption, and are not on this machine."""
    for key, url in _with_credentials(config):
        parts = urlsplit(url)
        if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
            yield Problem(key_path(*key), shown(url), "credentials are sent there without encryption; use https")


def _with_credentials(config: Config) -> Iterator[tuple[tuple[KeyPart, ...], str]]:
    for name, registry in sorted(config.registries.items()):
        fields = ("url", "endpoint", "oss_endpoint") if _sends_credentials(registry) else ()
        yield from (
            (("registries", name, field), getattr(registry, field)) for field in fields if getattr(registry, field, "")
        )
    for name, target in sorted(config.targets.items()):
        if isinstance(target, OssTargetSettings):
            yield ("targets", name, "endpoint"), target.endpoint
    for name, runtime in sorted(config.runtimes.items()):
        yield ("runtimes", name, "protocol"), f"{runtime.protocol}://{runtime.endpoint}"
    if config.ui.issuer:
        yield ("ui", "issuer"), config.ui.issuer
    for name, signal in sorted(config.signals.items()):
        if signal.token is not None:
            yield ("signals", name, "url"), signal.url
    for name, hook in sorted(config.hooks.items()):
        if isinstance(hook, EventBridgeHookSettings):
            yield ("hooks", name, "url"), hook.url


def _sends_credentials(registry: RegistrySettings) -> bool:
    is_signed = isinstance(registry, OssRegistrySettings | PaiRegistrySettings) or getattr(registry, "acr", None)
    return bool(is_signed) or registry.secret is not None


def _listener(config: Config) -> Iterator[Problem]:
    api = config.api
    for index, proxy in enumerate(api.trusted_proxies):
        network = ip_network(proxy)
        if network.prefixlen < _PREFIX_MIN[network.version]:
            advice = "everybody there can name any client address; list the proxies only"
            yield Problem(key_path("api", "trusted_proxies", index), shown(proxy), advice)
    host = api.listen.rpartition(":")[0].strip("[]")
    behind_proxy = any(not ip_network(proxy).is_loopback for proxy in api.trusted_proxies)
    if api.listen and not _is_loopback(host) and not behind_proxy:
        advice = "other machines reach it without TLS; put a proxy in front and its address in api.trusted_proxies"
        yield Problem("api.listen", shown(api.listen), advice)


def _record(config: Config) -> Iterator[Problem]:
    """The files of a SQLite record and their directory. Where syncd creates them, only their owner may read them."""
    if not config.state.url.startswith("sqlite"):
        return
    file = Path(str(config.state.connect_url.database))
    for path, mode_wanted in (
        *((file.with_name(f"{file.name}{ending}"), "600") for ending in _RECORD_FILES),
        (file.parent, "700"),
    ):
        mode = _open_to_others(path)
        if mode is not None:
            kind = "a directory" if path == file.parent else "a file"
            advice = f"others can read or change the record; run: chmod {mode_wanted} {path}"
            yield Problem("state.url", f"{kind} with the mode {mode:04o}", advice)


def _open_to_others(path: Path) -> int | None:
    """The mode, if others may do anything with it. The group of this process is no other."""
    try:
        found = path.stat()
    except OSError:
        return None
    mode = stat.S_IMODE(found.st_mode)
    others = stat.S_IRWXO if found.st_gid == os.getegid() else stat.S_IRWXO | stat.S_IRWXG
    return mode if mode & others else None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
