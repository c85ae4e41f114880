"""A small fleet on this machine: a registry directory, a local cloud of three regions, and syncd's configuration.

Two regions store on OSS and one on NAS; each has one function that answers with the digest it computed from its
mount. All of it lies below one directory and comes back, at the same ports, from a copy of that directory.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from syncd.artifact.digest import Digest
from syncd.artifact.manifest import SEAL_PATH, Entry, Manifest
from syncd.artifact.names import parse_model, parse_path, parse_version
from syncd.config import Config, load
from syncd.engine.upgrade import create
from syncd.localcloud.environment import LocalEnvironment
from syncd.localcloud.fc import Settings
from syncd.localcloud.fc.functions.records import FunctionRecord
from syncd.localcloud.oss.errors import OssError
from syncd.runtime.fc.runtime import FcRuntime
from syncd.wiring import runtimes_of

import tests.support.fleet_function

MODEL: Final = "m"
FUNCTION: Final = "serve"
WEIGHTS: Final = "weights.bin"
PART_BYTES: Final = 100 << 10  # the least OSS takes
SIZES: Final[Mapping[str, int]] = {WEIGHTS: 2 * PART_BYTES + 4321, "config.json": 321, "tok/vocab.txt": 2345}
NAS_SERVER: Final = "nas.local"
PLACES: Final = {"hangzhou": "cn-hangzhou", "singapore": "ap-southeast-1", "shanghai": "cn-shanghai"}
BUCKETS: Final = {"hangzhou": "models-hz", "singapore": "models-sg"}
_SECRET: Final = "FLEET_SECRET"


@dataclass
class Fleet:
    """Everything below `home`. `start` and `stop` are the cloud's; the record and the registry need neither."""

    home: Path
    policy: Mapping[str, float] = field(default_factory=dict)
    timeout_s: float = 30.0  # of each call to OSS and FC
    strategy: str = ""  # the settings of one, for every model
    binding: str = ""  # more settings of each binding
    ports: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.whole = self._cloud()

    @property
    def config_file(self) -> Path:
        return self.home / "config.toml"

    @property
    def url(self) -> str:
        return f"sqlite:///{self.home / 'syncd.db'}"

    @property
    def environment(self) -> dict[str, str]:
        """What `load` wants beside the file."""
        return {_SECRET: self.whole.cloud.access_key_secret}

    @property
    def config(self) -> Config:
        return load(self.config_file, self.environment)

    def make(self) -> None:
        """Build it, with an empty record, and start the cloud."""
        self.start()
        for place, bucket in BUCKETS.items():
            self.whole.create_bucket(PLACES[place], bucket)
        (self.whole.nas_root / NAS_SERVER).mkdir(parents=True)
        for region in PLACES.values():
            self.whole.create_function(region, _function())
        (self.home / "registry" / MODEL).mkdir(parents=True)
        self.config_file.write_text(self._config())
        create(self.url)

    def start(self) -> None:
        """Start the cloud; from the second time on at the ports of the first."""
        self.whole = self._cloud()
        self.whole.start()
        if not self.ports:
            self.ports = {region: int(self._endpoint(region).rpartition(":")[2]) for region in PLACES.values()}

    def configure(self, timeout_s: float) -> None:
        """Write the configuration anew, with this patience for each call to OSS and FC."""
        self.timeout_s = timeout_s
        self.config_file.write_text(self._config())

    def stop(self) -> None:
        """Stop the cloud and every function in it; what it keeps stays."""
        self.whole.stop()

    def save(self, copy: Path) -> None:
        """Copy all of it aside. The cloud is stopped and nobody has the record open."""
        shutil.copytree(self.home, copy)

    def restore(self, copy: Path) -> None:
        """Be again what was saved, and start."""
        self.stop()
        shutil.rmtree(self.home)
        shutil.copytree(copy, self.home)
        self.start()

    def deliver(self, version: str) -> Manifest:
        """Put a version into the registry, with bytes of its own."""
        root = self.home / "registry" / MODEL / version
        listed = []
        for path, size_bytes in SIZES.items():
            data = random.Random(f"{version} {path}").randbytes(size_bytes)
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
            listed.append(f"{hashlib.sha256(data).hexdigest()}  {path}\n")
        (root / "SHA256SUMS").write_text("".join(listed))
        return self.manifest(version)

    def manifest(self, version: str) -> Manifest:
        """What a version of `deliver` must be, told without asking syncd's registry."""
        entries = []
        for path, size_bytes in SIZES.items():
            data = random.Random(f"{version} {path}").randbytes(size_bytes)
            entries.append(Entry(parse_path(path), size_bytes, Digest(hashlib.sha256(data).hexdigest())))
        return Manifest.of(parse_model(MODEL), parse_version(version), entries)

    # The world, seen without syncd's stores.

    def visible(self, place: str, manifest: Manifest) -> dict[str, bytes]:
        """The files a reader finds of a version at one place, by their paths within it; no directory markers."""
        found: dict[str, bytes] = {}
        if place in BUCKETS:
            oss = self.whole.cloud.oss[PLACES[place]]
            for path in [*(entry.path for entry in manifest.entries), SEAL_PATH]:
                with suppress(OssError):
                    found[path] = oss.object_file(BUCKETS[place], f"{manifest.directory}/{path}").read_bytes()
            return found
        root = self.nas / manifest.directory
        return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}

    @property
    def nas(self) -> Path:
        return self.whole.nas_root / NAS_SERVER

    def half_done(self) -> list[str]:
        """Uploads that were begun and not ended, in the buckets and in the NAS."""
        left = [f"{NAS_SERVER}: {path.name}" for path in sorted((self.nas / ".syncd-staging").glob("*"))]
        for place, bucket in BUCKETS.items():
            uploads = self.whole.cloud.oss[PLACES[place]].store.uploads
            left += [f"{bucket}: {upload.key}" for upload in uploads.after(bucket, ("", ""), "", 100)]
        return left

    def runtimes(self) -> dict[str, FcRuntime]:
        """The regions' functions, by place."""
        made = runtimes_of(self.config)
        found: dict[str, FcRuntime] = {}
        for place, region in PLACES.items():
            runtime = made[region]
            assert isinstance(runtime, FcRuntime)
            found[place] = runtime
        return found

    def pointed(self, place: str, alias: str = "prod") -> tuple[str | None, dict[str, float]]:
        """Where an alias points and its weights, from the cloud's own record."""
        found = self._function(place).aliases.get(alias)
        return (None, {}) if found is None else (found.version_id, dict(found.weights))

    def mounted(self, place: str, function_version: str) -> str:
        """The directory below the target's root that a published version of the function mounts."""
        config = self._function(place).versions[function_version].running.config
        if place in BUCKETS:
            return str(config["ossMountConfig"]["mountPoints"][0]["bucketPath"]).strip("/")
        return str(config["nasConfig"]["mountPoints"][0]["serverAddr"]).partition(":")[2].strip("/")

    def published(self, place: str) -> dict[str, str]:
        """The versions of the function, with their descriptions."""
        return {number: version.description for number, version in self._function(place).versions.items()}

    def _function(self, place: str) -> FunctionRecord:
        return self.whole.functions.regions[PLACES[place]]._started().store.get(FUNCTION)

    def _cloud(self) -> LocalEnvironment:
        settings = Settings(create_s=0.0, update_s=0.0, converge_s=0.0)
        return LocalEnvironment(self.home / "cloud", list(PLACES.values()), self.ports, settings)

    def _endpoint(self, region: str) -> str:
        return self.whole.cloud.endpoint(region)

    def _config(self) -> str:
        policy: dict[str, float] = {"tick_s": 0.2, "stage_poll_s": 0.05, "retry_base_s": 0.05, "retry_cap_s": 0.2}
        policy |= {"lease_s": 60.0, "step_failures_max": 6, **self.policy}
        lines = [f'[state]\nurl = "{self.url}"\n[transfer]\nparts_in_flight = 4\nbuffer_bytes = "64MiB"']
        lines.append(f"stall_s = {self.timeout_s}\n[policy]")
        lines += [f"{name} = {value}" for name, value in policy.items()]
        lines += [f'[[policy.strategies]]\nmodels = ["*"]\n{self.strategy}'] if self.strategy else []
        lines.append(f'[registries.files]\nkind = "directory"\npath = "{self.home / "registry"}"\nsettle_s = 0.0')
        lines.append(f'[credentials.local]\naccess_key_id = "{self.whole.cloud.access_key_id}"')
        lines.append(f'access_key_secret = {{ env = "{_SECRET}" }}')
        for place, region in PLACES.items():
            lines += self._place(place, region)
        return "\n".join(lines) + "\n"

    def _place(self, place: str, region: str) -> list[str]:
        endpoint = self._endpoint(region)
        if place in BUCKETS:
            target = f'kind = "oss"\nendpoint = "{endpoint}"\nbucket = "{BUCKETS[place]}"\ncredentials = "local"'
        else:
            target = f'kind = "nas"\npath = "{self.nas}"\nserver = "{NAS_SERVER}"'
        host = endpoint.removeprefix("http://")
        return [
            f'[targets.{place}]\nregion = "{region}"\n{target}',
            f'[runtimes.{region}]\nkind = "fc"\nregion = "{region}"\nendpoint = "{host}"\nprotocol = "http"',
            f'credentials = "local"\nconnect_timeout_s = 5.0\nread_timeout_s = {self.timeout_s}',
            f'[bindings.serve-{place}]\nruntime = "{region}"\nfunction = "{FUNCTION}"\nalias = "prod"',
            f"probe = {{ timeout_s = {self.timeout_s} }}\n{self.binding}",
            f'[[bindings.serve-{place}.models]]\nmodel = "{MODEL}"\ntarget = "{place}"\nmount_dir = "/mnt/m"',
            'env = { path = "M_PATH", digest = "M_DIGEST", version = "M_VERSION" }',
        ]


def mounting(fleet: Fleet, place: str) -> set[str]:
    """The directories that the published versions of the function mount."""
    return {fleet.mounted(place, number) for number in fleet.published(place)}


def answered(body: bytes) -> str:
    """The digest that a function computed from what is mounted."""
    models: dict[str, Any] = json.loads(body)["models"]
    return str(models[MODEL]["digest"])


def _function() -> dict[str, Any]:
    program = Path(tests.support.fleet_function.__file__)
    return {
        "functionName": FUNCTION,
        "runtime": "custom-container",
        "handler": "index.handler",
        "cpu": 1.0,
        "memorySize": 1024,
        "diskSize": 512,
        "timeout": 60,
        "role": "acs:ram::1234567890123456:role/fleet",
        "environmentVariables": {"MODELS": f"{MODEL}=M_PATH", "OWNER": "team"},
        "customContainerConfig": {
            "image": "fleet/serve:1",
            "port": 9000,
            "command": [sys.executable, "-IS", str(program)],
        },
        "vpcConfig": {"vpcId": "vpc-1", "vSwitchIds": ["vsw-1"], "securityGroupId": "sg-1"},
    }
