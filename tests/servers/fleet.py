"""Two regions, and a daemon that takes versions from many registries; it is asked over its HTTP API."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

import httpx
from syncd.artifact.digest import Digest
from syncd.artifact.manifest import Entry, Manifest
from syncd.artifact.names import parse_path
from syncd.client import Client, Release
from syncd.plan.roles import Role
from syncd.state.access import tokens
from syncd.state.state import State

from tests.acceptance.stage import HANGZHOU, SHANGHAI, Cloud, Daemon, daemon_of, environment, until
from tests.emulators.distribution import PASSWORD
from tests.emulators.modelscope import TOKEN
from tests.servers.sources import MODELSCOPE_TOKEN, OCI_PASSWORD, SECRET, Source

HOOK_SECRET: Final = "SERVERS_HOOK_SECRET"
HOUR_S: Final = 3600.0


@dataclass(frozen=True)
class Fleet:
    """A record, a configuration, and a token for who asks the daemon over HTTP."""

    home: Path
    token: str

    @contextmanager
    def daemon(self) -> Iterator[tuple[Daemon, Client]]:
        """One that runs, and has looked at every registry once."""
        secrets = {HOOK_SECRET: SECRET, OCI_PASSWORD: PASSWORD, MODELSCOPE_TOKEN: TOKEN}
        env = environment(**secrets, SYNCD_CONFIG=str(self.home / "config.toml"))
        number = len(list(self.home.glob("daemon-*.log")))
        with daemon_of(self.home / f"daemon-{number}.log", env) as daemon:
            (address,) = until(lambda: [each["address"] for each in daemon.events("server.listening")], "the API")
            with Client(address, self.token, trust_env=False) as client:
                until(lambda: httpx.get(f"{address}/readyz", trust_env=False).is_success, "a look at every registry")
                yield daemon, client


def prepared(cloud: Cloud, home: Path, template: Path, sources: Iterable[Source], poll_s: float) -> Fleet:
    """A fleet with nothing released; each source's model is served by functions of its own."""
    shutil.copyfile(template, home / "syncd.db")
    prefix = f"fleet{cloud.number()}"
    (cloud.nas_root / f"{prefix}.nas.local").mkdir(parents=True)
    state = State(f"sqlite:///{home / 'syncd.db'}")
    with state.write() as conn:
        token = tokens.create(conn, "tests", Role.OPERATE, "tests", state.now(conn)).reveal()
    state.close()
    parts = [_BASE.format(home=home, cloud=cloud, prefix=prefix, credentials=CREDENTIALS)]
    for source in sources:
        number = cloud.number()
        parts.append(_SOURCE.format(source=source, poll_s=poll_s))
        parts += [_BINDING.format(source=source, region=region, number=number) for region in (HANGZHOU, SHANGHAI)]
    for region, endpoint in cloud.endpoints.items():
        parts.append(_RUNTIME.format(region=region, host=endpoint.removeprefix("http://")))
    (home / "config.toml").write_text("\n".join(parts))
    return Fleet(home, token)


def live_everywhere(client: Client, model: str, version: str, files: Mapping[str, bytes]) -> Release:
    """Wait until both regions serve this version, of exactly these bytes. Gives the release."""
    entries = [Entry(parse_path(p), len(data), Digest(sha256(data).hexdigest())) for p, data in files.items()]
    digest = Manifest.of(model, version, entries).digest.hex

    def found() -> list[Release]:
        releases = client.releases(model, limit=1)
        assert not [each for each in releases if each.has_ended and each.phase != "live"], releases
        return [each for each in releases if (each.version, each.phase) == (version, "live")]

    (release,) = until(found, f"{model}@{version} to be live")
    live = {each["region"]: (each["version"], each["digest"]) for each in client.status(model)["live"]}
    assert live == dict.fromkeys((HANGZHOU, SHANGHAI), (version, digest))
    return release


CREDENTIALS: Final = """[credentials.local]
access_key_id = "local-access-key"
access_key_secret = { env = "ACCEPTANCE_SECRET" }
"""

_BASE: Final = """[state]
url = "sqlite:///{home}/syncd.db"

[policy]
tick_s = 0.1
lease_s = 3.0
stage_poll_s = 0.05
retry_base_s = 0.1
retry_cap_s = 0.5

[api]
listen = "127.0.0.1:0"

{credentials}
[targets.cn-hangzhou]
kind = "oss"
region = "cn-hangzhou"
endpoint = "{cloud.endpoint}"
bucket = "acceptance-models"
prefix = "{prefix}/"
credentials = "local"

[targets.cn-shanghai]
kind = "nas"
region = "cn-shanghai"
path = "{cloud.nas_root}/{prefix}.nas.local"
server = "{prefix}.nas.local"
"""

_SOURCE: Final = """[registries.{source.name}]
{source.table}
poll_s = {poll_s}
jitter_s = 0.0

[hooks.{source.name}]
kind = "{source.hook}"
secret = {{ env = "SERVERS_HOOK_SECRET" }}
"""

_RUNTIME: Final = """[runtimes.{region}]
kind = "fc"
region = "{region}"
endpoint = "{host}"
protocol = "http"
credentials = "local"
"""

_BINDING: Final = """[bindings.{source.name}-{region}]
runtime = "{region}"
function = "f-s{number:02d}"
alias = "prod"

[[bindings.{source.name}-{region}.models]]
model = "{source.model}"
target = "{region}"
mount_dir = "/mnt/model"
env = {{ path = "MODEL_PATH", digest = "MODEL_DIGEST" }}
"""
