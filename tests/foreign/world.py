"""A world: three regions as processes, a fault proxy before each, a registry, a record, and the installed syncd."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.request import Request, urlopen

from tests.foreign.client import Client
from tests.foreign.cloud.__main__ import ACCESS_KEY_ID, ACCESS_KEY_SECRET
from tests.foreign.cloud.signatures import Key
from tests.foreign.processes import Clock, Closing, Disk, PostgreSql, Process, free_port, module

SYNCD: Final = Path(sys.executable).with_name("syncd")
NAS_SERVER: Final = "nas.cn-shanghai.foreign"
COMMAND_S: Final = 120.0


@dataclass(frozen=True)
class Binding:
    """A function's alias `prod` in a region, and the models that it serves from a target."""

    name: str
    region: str
    function: str
    target: str
    models: tuple[str, ...]


BUCKETS: Final = {"cn-hangzhou": "models-hz", "ap-southeast-1": "models-sg"}
REGIONS: Final = ("cn-hangzhou", "cn-shanghai", "ap-southeast-1")
BINDINGS: Final = (
    Binding("alpha-hz", "cn-hangzhou", "alpha", "hz", ("alpha",)),
    Binding("alpha-sh", "cn-shanghai", "alpha", "sh", ("alpha",)),
    Binding("alpha-sg", "ap-southeast-1", "alpha", "sg", ("alpha",)),
    Binding("both-hz", "cn-hangzhou", "both", "hz", ("alpha", "beta")),
    Binding("beta-sh", "cn-shanghai", "beta", "sh", ("beta",)),
)
STRATEGY: Final = """
[[policy.strategies]]
models = ["alpha"]
waves = [["cn-hangzhou"]]
steps = ["25% 3s", "100%"]
judge_samples = 1
deadline_s = 120.0
"""


@dataclass(frozen=True)
class Result:
    """What a command of syncd ended with. `document` is its JSON, or None."""

    arguments: tuple[str, ...]
    code: int
    document: Any
    error: str
    seconds: float


class Region:
    """A region's process and the proxy before it. Ports stay over restarts."""

    def __init__(self, name: str, root: Path, nas: Path, seed: int) -> None:
        self.name: Final = name
        self._port = free_port()
        self._root, self._nas = root, nas
        self.process = self._start()
        url = f"http://127.0.0.1:{self._port}"
        command = module("tests.foreign.proxy", "--upstream", url, "--seed", str(seed))
        self._proxy = Process(command, root / "proxy.log")
        urls = self._proxy.first_line()
        self.url: Final = str(urls["url"])
        self._control = str(urls["control"])
        # The oracle and people go past the proxy: they ask what is, not what the line makes of it.
        key = Key(ACCESS_KEY_ID, ACCESS_KEY_SECRET, name)
        self.client: Final = Client(url, key)
        self.proxied: Final = Client(self.url, key)

    def _start(self) -> Process:
        arguments = ["--region", self.name, "--root", str(self._root), "--port", str(self._port)]
        if self.name in BUCKETS:
            arguments += ["--bucket", BUCKETS[self.name]]
        arguments += ["--nas", str(self._nas)]
        self._root.mkdir(parents=True, exist_ok=True)
        process = Process(module("tests.foreign.cloud", *arguments), self._root / "cloud.log")
        process.first_line()
        return process

    def kill(self) -> None:
        self.process.kill()

    def restart(self) -> None:
        self.process.kill()
        self.process = self._start()

    def play(self, **faults: float | str) -> dict[str, Any]:
        """Replace the faults of the proxy; the answer reports what was played so far."""
        request = Request(self._control, json.dumps(faults).encode(), method="PUT")
        with urlopen(request, timeout=30) as answer:
            return dict(json.loads(answer.read()))

    def close(self) -> None:
        self.process.stop(10)
        self._proxy.kill()


class World(Closing):
    """Everything that a scenario needs. `database` is sqlite or postgresql."""

    def __init__(
        self,
        root: Path,
        *,
        database: str = "sqlite",
        seed: int = 1,
        policy: str = "",
        small_disks: bool = False,
        polls: bool = False,
    ) -> None:
        super().__init__()
        self.root: Final = root
        self._chance = random.Random(seed)
        self.delivered: Final[dict[str, dict[str, dict[str, str]]]] = {}
        self.daemon: Process | None = None
        self.regions: Final[dict[str, Region]] = {}
        try:
            self._polls = polls
            self._open(database, seed, policy, small_disks=small_disks)
        except BaseException:
            self.close()
            raise

    def _open(self, database: str, seed: int, policy: str, *, small_disks: bool) -> None:
        for directory in ("registry", "record", "nas"):
            (self.root / directory).mkdir(parents=True)
        self.nas_disk = self._disk("nas", 96) if small_disks else None
        self.record_disk = self._disk("record", 64) if small_disks and database == "sqlite" else None
        self.clock = Clock(self.root)
        self.postgresql: PostgreSql | None = None
        url = f"sqlite:///{self.root}/record/syncd.db"
        if database == "postgresql":
            self.postgresql = PostgreSql(self.root)
            self.stack.callback(self.postgresql.close)
            url = self.postgresql.url
        for number, name in enumerate(REGIONS):
            region = Region(name, self.root / name, self.root / "nas", seed * 10 + number)
            self.stack.callback(region.close)
            self.regions[name] = region
        self.stack.callback(self.stop_daemon)
        self._create_functions()
        self.config = self.root / "config.toml"
        self.config.write_text(self._configuration(url, policy))
        if self.syncd("db", "create").code != 0:
            created = self.syncd("db", "upgrade")
            assert created.code == 0, created

    def _disk(self, name: str, megabytes: int) -> Disk:
        disk = Disk(self.root / name, megabytes)
        self.stack.callback(disk.close)
        return disk

    def _create_functions(self) -> None:
        script = Path(__file__).with_name("serving_function.py")
        command = [sys.executable, "-I", str(script)]
        for binding in BINDINGS:
            body = {
                "functionName": binding.function,
                "runtime": "custom-container",
                "handler": "index.handler",
                "cpu": 1.0,
                "memorySize": 2048,
                "diskSize": 512,
                "timeout": 60,
                "role": "acs:ram::1234567890123456:role/reader",
                "environmentVariables": {"OWNER": "team"},
                "customContainerConfig": {"image": "registry/team/serve:1", "port": 9000, "command": command},
                "vpcConfig": {"vpcId": "vpc-1", "vSwitchIds": ["vsw-1"], "securityGroupId": "sg-1"},
            }
            self.regions[binding.region].client.ask("POST", "/functions", body=body)

    def _configuration(self, url: str, policy: str) -> str:
        lines = [
            f'[state]\nurl = "{url}"',
            '[transfer]\nbuffer_bytes = "64MiB"\nstall_s = 10.0',
            f"[policy]\nauto_release = {str(self._polls).lower()}\nlease_s = 5.0\ntick_s = 0.2\nstage_poll_s = 0.1",
            "retry_base_s = 0.3\nretry_cap_s = 2.0\nstep_failures_max = 1000\ndrift_poll_s = 3600.0",
            policy,
            f'[registries.registry]\nkind = "directory"\npath = "{self.root}/registry"\nmodels = ["*"]',
            "poll_s = 2.0\njitter_s = 0.0\nsettle_s = 0.2",
            f'[credentials.main]\naccess_key_id = "{ACCESS_KEY_ID}"\naccess_key_secret = {{ env = "FOREIGN_SECRET" }}',
        ]
        for target, region in (("hz", "cn-hangzhou"), ("sg", "ap-southeast-1")):
            lines.append(
                f'[targets.{target}]\nkind = "oss"\nregion = "{region}"\nendpoint = "{self.regions[region].url}"\n'
                f'bucket = "{BUCKETS[region]}"\ncredentials = "main"'
            )
        lines.append(
            f'[targets.sh]\nkind = "nas"\nregion = "cn-shanghai"\npath = "{self.nas}"\nserver = "{NAS_SERVER}"'
        )
        for region in REGIONS:
            endpoint = self.regions[region].url.removeprefix("http://")
            lines.append(
                f'[runtimes.{region}]\nkind = "fc"\nregion = "{region}"\nendpoint = "{endpoint}"\nprotocol = "http"\n'
                'credentials = "main"\nconnect_timeout_s = 2.0\nread_timeout_s = 10.0'
            )
        for binding in BINDINGS:
            lines.append(
                f'[bindings.{binding.name}]\nruntime = "{binding.region}"\nfunction = "{binding.function}"\n'
                'alias = "prod"\n'
                f"[bindings.{binding.name}.probe]\ntimeout_s = 20.0"
            )
            for model in binding.models:
                name = f"MODEL_{model.upper()}"
                lines.append(
                    f'[[bindings.{binding.name}.models]]\nmodel = "{model}"\ntarget = "{binding.target}"\n'
                    f'mount_dir = "/mnt/{model}"\n'
                    f'env = {{ path = "{name}_PATH", digest = "{name}_DIGEST", version = "{name}_VERSION" }}'
                )
        return "\n".join(lines) + "\n"

    @property
    def nas(self) -> Path:
        """The NAS as this machine has it mounted."""
        path = self.root / "nas" / NAS_SERVER
        with contextlib.suppress(OSError):
            path.mkdir(exist_ok=True)
        return path

    def environment(self) -> dict[str, str]:
        """Of syncd's processes: no proxy of the machine's, and the world's clock."""
        kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        kept |= {"SYNCD_CONFIG": str(self.root / "config.toml"), "FOREIGN_SECRET": ACCESS_KEY_SECRET}
        return kept | self.clock.environment()

    def syncd(self, *arguments: str, timeout_s: float = COMMAND_S) -> Result:
        """Run a command of syncd to its end. One that takes too long is killed, with code -9."""
        started = time.monotonic()
        takes_json = arguments[0] not in {"db", "health"}
        command = [str(SYNCD), *arguments, *(("-o", "json") if takes_json else ())]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environment(), text=True, cwd="/"
        )
        try:
            output, error = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            output, error = process.communicate()
        document: Any = None
        with contextlib.suppress(ValueError):
            document = json.loads(output.strip().splitlines()[-1]) if output.strip() else None
        return Result(arguments, process.returncode, document, error, time.monotonic() - started)

    def start_daemon(self) -> None:
        """Start `syncd run`, unless it runs."""
        if self.daemon is None or not self.daemon.alive:
            self.daemon = Process([str(SYNCD), "run"], self.root / "daemon.log", self.environment())

    def await_daemon(self, timeout_s: float = 60.0) -> None:
        """Start `syncd run` and wait until the record knows it: until then a `publish` would do the work itself."""
        before = self._owner()
        self.start_daemon()
        deadline = time.monotonic() + timeout_s
        while self._owner() in {None, before}:
            assert time.monotonic() < deadline, "the daemon is not heard of"
            time.sleep(0.2)

    def _owner(self) -> str | None:
        daemon = self.status()["daemon"]
        return str(daemon["owner"]) if daemon else None

    def kill_daemon(self) -> None:
        if self.daemon is not None:
            self.daemon.kill()

    def stop_daemon(self) -> None:
        if self.daemon is not None:
            self.daemon.stop()
            self.daemon = None

    def deliver(self, model: str, version: str, megabytes: float = 1.0) -> None:
        """Put a version into the registry: two files with tensors and a configuration, its list of checksums last."""
        place = self.root / "registry" / model
        staged = place / f"{version}.incomplete"
        staged.mkdir(parents=True)
        for number in (1, 2):
            _write_tensors(staged / f"part-{number}.safetensors", int(megabytes * 524_288), self._chance)
        (staged / "config.json").write_text(json.dumps({"model": model, "version": version}))
        (staged / "tokens").mkdir()
        (staged / "tokens" / "words + more.txt").write_text(f"{model} {version}\n")
        files = {
            path.relative_to(staged).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(staged.rglob("*"))
            if path.is_file()
        }
        (staged / "SHA256SUMS").write_text("".join(f"{digest}  {name}\n" for name, digest in files.items()))
        staged.rename(place / version)
        self.delivered.setdefault(model, {})[version] = files

    def play(self, **faults: float | str) -> None:
        """Replace the faults before every region."""
        for region in self.regions.values():
            region.play(**faults)

    def status(self) -> dict[str, Any]:
        """`syncd status -o json`."""
        result = self.syncd("status")
        assert result.code == 0, result
        return dict(result.document)

    def wait_for_rest(self, timeout_s: float) -> dict[str, Any]:
        """The status when nothing is in flight, or the last one that was seen."""
        deadline = time.monotonic() + timeout_s
        while True:
            status = self.status()
            if not status["in_flight"] or time.monotonic() > deadline:
                return status
            time.sleep(0.3)


def _write_tensors(path: Path, size: int, chance: random.Random) -> None:
    count = max(1, size // 4)
    header = {"weight": {"dtype": "F32", "shape": [count], "data_offsets": [0, count * 4]}}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + chance.randbytes(count * 4))
