"""A model that people use is baked into real registries, comes out of them with other people's tools, and serves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from syncd.state.releases import events
from syncd.state.state import State

from tests.acceptance.stage import LIMIT_S, command, environment
from tests.emulators.distribution import PASSWORD, USER, Distribution, distribution
from tests.emulators.relay import image_relay
from tests.emulators.web import Reply, Request, Web, ranged
from tests.servers.images import BASE, inspect, make_base, pull, push, unpack
from tests.servers.programs import minilm
from tests.servers.sources import DirectorySource
from tests.support.sources import manifest_of
from tests.support.tensors import sharded

pytestmark = [pytest.mark.needs_docker_registry, pytest.mark.needs_skopeo, pytest.mark.needs_umoci]
MODEL: Final = "minilm"
SHARD_BYTES: Final = 10 << 20  # more than a layer of its own begins with
FILES: Final = sharded(shards=4, tensors=2, size_bytes=SHARD_BYTES // 2)
THIRD: Final = "model-00003-of-00004.safetensors"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"), MODEL)


@contextmanager
def redirecting(root: Path) -> Iterator[tuple[Distribution, Web]]:
    """One that says for each blob to fetch it elsewhere, as one over an object store does."""

    def lies(request: Request) -> Reply:
        place = root / "blobs" / request.path.lstrip("/")
        return ranged(request, place.read_bytes()) if place.is_file() else Reply(404)

    with Web(lies) as far:
        middleware = [{"name": "redirect", "options": {"baseurl": f"http://localhost:{far.port}/"}}]
        with distribution(root, "htpasswd", {"middleware": {"storage": middleware}}) as house:
            yield house, far


@dataclass(frozen=True)
class Desk:
    """Where `syncd bake` is typed: a record, and a registry of models."""

    home: Path
    source: DirectorySource

    def bake(self, version: str, origin: str, before: Sequence[str] = (), **env: str) -> dict[str, Any]:
        """Run the command, after what is to stand `before` it. Gives what it says."""
        config, host = self.home / "config.toml", origin.removeprefix("http://")
        config.write_text(
            f'[state]\nurl = "sqlite:///{self.home}/syncd.db"\n[registries.models]\n{self.source.table}\n'
        )
        names = ["--to", f"{host}/team/{self.source.model}", "--base", f"{host}/{BASE}:1.0"]
        words = [*before, *command("bake", f"{self.source.model}@{version}", *names, "-o", "json")]
        done = subprocess.run(
            words, env=environment(SYNCD_CONFIG=str(config), **env), cwd=self.home, capture_output=True, text=True,
            timeout=LIMIT_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def baked_in(self) -> int:
        """The year in which an image was last baked, as the record has it."""
        state = State(f"sqlite:///{self.home}/syncd.db")
        with state.read() as conn:
            (year,) = {event.at.year for event in events.after(conn, 0, 100) if event.kind == "image.baked"}
        state.close()
        return year


def server(home: Path, template: Path, model: str = MODEL) -> Desk:
    home.mkdir(exist_ok=True)
    shutil.copyfile(template, home / "syncd.db")
    return Desk(home, DirectorySource(home / "models", model))


@pytest.mark.needs_minilm
@pytest.mark.parametrize("kind", ["tokens", "redirects"])
def test_a_model_goes_from_a_registry_into_an_image_and_its_server_answers_with_the_digest(
    kind: str, base: Path, sqlite_template: Path, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        if kind == "tokens":
            house, far = stack.enter_context(distribution(tmp_path, "token")), None
        else:
            house, far = stack.enter_context(redirecting(tmp_path))
        push(base, house)
        made = server(tmp_path / "desk", sqlite_template)
        version, files = made.source.bring(1, minilm())
        baked = made.bake(version, house.origin, SYNCD_IMAGE_USER=USER, SYNCD_IMAGE_PASSWORD=PASSWORD)
        image = f"{house.origin.removeprefix('http://')}/team/{MODEL}:{baked['tag']}"
        seen = inspect(image, login=True)
        manifest = manifest_of(files, MODEL, version)
        assert (seen["Digest"], seen["Labels"]["syncd.digest"]) == (baked["digest"], manifest.digest.hex)
        pull(image, tmp_path / "pulled", login=True)
        if far is not None:
            assert {request.method for request in far.seen} >= {"GET", "HEAD"}
            assert all("authorization" not in request.headers for request in far.seen)
    with unpack(tmp_path / "pulled", tmp_path / "bundle").running() as address:
        answer = httpx.post(address, json={}, trust_env=False, timeout=60).json()
    assert answer["models"][MODEL]["digest"] == manifest.digest.hex
    assert answer["models"][MODEL]["parameters"] > 22_000_000


def held_bytes(root: Path) -> int:
    """What the registry has in its store, as the disk says."""
    return sum(each.stat().st_size for each in root.glob("blobs/docker/registry/v2/blobs/sha256/*/*/data"))


# The new user has the old one's rights to files, so nothing else is another because of it.
_UNSHARE: Final = ("unshare", "--user", "--map-user=1234", "--map-group=1234", "--uts", "--keep-caps")
_BECOME: Final = (
    "import os, socket, sys; socket.sethostname(sys.argv[1]); assert os.getuid() == 1234;"
    "os.execvp(sys.argv[2], sys.argv[2:])"
)


def elsewhere(host: str) -> list[str]:
    """What has a command see a machine of this name and another user.

    Nothing where the kernel does not allow it: then only the environment tells of another machine.
    """
    become = [*_UNSHARE, sys.executable, "-c", _BECOME, host]
    allowed = subprocess.run([*become, "true"], capture_output=True, check=False).returncode == 0
    return become if allowed else []


@pytest.mark.needs_faketime
def test_two_machines_on_two_days_make_the_same_image_to_the_byte(
    base: Path, sqlite_template: Path, tmp_path: Path
) -> None:
    """Two names of the machine and of its user, two time zones, locales, clocks, and orders in which a set is read."""
    other = {"TZ": "Asia/Shanghai", "LC_ALL": "C", "PYTHONHASHSEED": "7", "HOME": "/nonexistent"}
    other |= {"HOSTNAME": "elsewhere", "LOGNAME": "nobody-here", "USER": "nobody-here"}
    machines = {
        "one": ("127.0.0.1", ["faketime", "2026-11-20 10:00:00"], {"TZ": "UTC", "LC_ALL": "C.UTF-8"}),
        "another": ("localhost", [*elsewhere("elsewhere"), "faketime", "2031-02-28 23:59:58"], other),
    }
    years: list[int] = []
    found: list[tuple[dict[str, Any], bytes, bytes]] = []
    for name, (host, before, env) in machines.items():
        root = tmp_path / name / "deeper"
        root.mkdir(parents=True)
        with distribution(root) as house:
            push(base, house)
            made = server(root / f"desk-of-{name}", sqlite_template, "sharded")
            version, _ = made.source.bring(1, FILES)
            for file in root.glob("desk-*/models/*/*/*"):
                os.utime(file, (len(found), len(found)))
                file.chmod(0o600 if found else 0o644)
            baked = made.bake(version, house.origin.replace("127.0.0.1", host), before, **env)
            with house.client("team/sharded") as client:
                accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
                manifest = client.get(f"/v2/team/sharded/manifests/{baked['tag']}", headers=accept)
                config = client.get(f"/v2/team/sharded/blobs/{manifest.json()['config']['digest']}")
            found.append((baked, manifest.content, config.content))
            years.append(made.baked_in())
    assert years == [2026, 2031]
    one, another = found
    assert one[1:] == another[1:]
    assert (one[0]["tag"], one[0]["digest"], one[0]["layers"]) == (
        another[0]["tag"], another[0]["digest"], another[0]["layers"],
    )  # fmt: skip


def test_of_four_shards_one_that_changed_is_what_arrives_at_the_registry(
    base: Path, sqlite_template: Path, tmp_path: Path
) -> None:
    changed = FILES | {THIRD: FILES[THIRD][:-1] + b"!"}
    with distribution(tmp_path) as house, image_relay(house.origin) as relay:
        push(base, house)
        made = server(tmp_path / "desk", sqlite_template, "sharded")
        for number, files in enumerate((FILES, changed), start=1):
            version, _ = made.source.bring(number, files)
            relay.sent.clear()
            before_bytes = held_bytes(tmp_path)
            baked = made.bake(version, relay.origin)
            grown_bytes = held_bytes(tmp_path) - before_bytes
            pushed = [layer["title"] for layer in baked["layers"] if layer["how"] == "pushed"]
            assert grown_bytes - baked["bytes_sent"] < 16_384  # the configuration and the manifest
            assert relay.bytes_in - baked["bytes_sent"] < 16_384
        assert pushed == [THIRD, ".syncd/manifest.json"]
        assert len(changed[THIRD]) < baked["bytes_sent"] < len(changed[THIRD]) + 16_384
