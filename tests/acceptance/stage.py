"""Where acceptance plays: a local cloud as a process, and small fleets on it that know nothing of each other.

A cloud is started once for a module. Each `Stage` is a record, a registry, a model, two regions (a bucket's prefix
in one, a NAS in the other) and a function in each, by names nobody else uses.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx
import syncd.localcloud

T = TypeVar("T")
ROOT: Final = Path(__file__).parents[2]
HANGZHOU, SHANGHAI = "cn-hangzhou", "cn-shanghai"
BUCKET: Final = "acceptance-models"
STAGES_MAX: Final = 40
SECRET: Final = "local-access-secret"
SECRET_NAME: Final = "ACCEPTANCE_SECRET"
LIMIT_S: Final = 90.0
PART_BYTES: Final = 8 << 20
_FUNCTION: Final = Path(syncd.localcloud.__file__).parent / "example_function.py"
_PROXY: Final = re.compile(r"(?i)^(https?|all|no)_proxy$|^SYNCD_|^NO_COLOR$")


def environment(**more: str) -> dict[str, str]:
    """What a command is started with: nothing of the machine's own settings that it would listen to."""
    own = {name: value for name, value in os.environ.items() if not _PROXY.search(name)}
    return own | {"PYTHONPATH": str(ROOT), SECRET_NAME: SECRET} | more


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on standard output."""
        lines = self.out.splitlines()
        assert len(lines) == 1, f"one JSON document is wanted, got {len(lines)} lines: {self.out[:500]}{self.err[:500]}"
        found: dict[str, Any] = json.loads(lines[0])
        return found

    @property
    def documents(self) -> list[dict[str, Any]]:
        """JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "syncd", *arguments]


def run(
    *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None, limit_s: float = LIMIT_S
) -> Done:
    """Run the command to its end. No stack trace is ever right."""
    done = subprocess.run(
        command(*arguments),
        env=env or environment(),
        cwd=cwd,
        capture_output=True,
        timeout=limit_s,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    told = Done(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
    assert "Traceback" not in told.out + told.err, f"{arguments}: {told.err}{told.out}"
    return told


def until(look: Callable[[], T], what: str, limit_s: float = LIMIT_S) -> T:
    """Look until it is true, and return what was seen."""
    deadline = time.monotonic() + limit_s
    while not (seen := look()):
        assert time.monotonic() < deadline, f"waited {limit_s:.0f} s for {what}"
        time.sleep(0.05)
    return seen


def read_until(process: subprocess.Popen[bytes], word: str) -> None:
    """Read a started command's output up to a line with `word` in it."""
    assert process.stdout is not None
    for line in process.stdout:
        if word in line.decode():
            return
    told = process.communicate()[1].decode(errors="replace")
    raise AssertionError(f"the command ended with {process.returncode} and never said {word}: {told}")


def ended(process: subprocess.Popen[bytes], limit_s: float = LIMIT_S) -> Done:
    """Wait for a started command."""
    out, err = process.communicate(timeout=limit_s)
    told = Done(process.returncode, (out or b"").decode(errors="replace"), (err or b"").decode(errors="replace"))
    assert "Traceback" not in told.out + told.err, told.err
    return told


@dataclass(frozen=True)
class Cloud:
    """A running `syncd local up`."""

    endpoints: Mapping[str, str]
    nas_root: Path
    root: Path
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def endpoint(self) -> str:
        return self.endpoints[HANGZHOU]

    @property
    def record(self) -> Path:
        """A database that the first stage's command has upgraded; each later one begins with a copy."""
        return self.root.with_name("record.db")

    def stage(self, home: Path, *, second: bool = True) -> Stage:
        """A fleet of its own. Without `second` in one region only."""
        made = Stage(self, home, f"s{self.number():02d}", second)
        made.prepare()
        return made

    def number(self) -> int:
        """Of functions, one in each region, that nobody has used yet."""
        number = next(self._numbers)
        assert number < STAGES_MAX
        return number


@contextmanager
def cloud_up(root: Path) -> Iterator[Cloud]:
    """Start a local cloud with a seed, by the command a user would type, and end it as a user would."""
    seed = root / "seed.toml"
    seed.parent.mkdir(parents=True, exist_ok=True)
    seed.write_text(_seed())
    arguments = ("local", "up", "--root", str(root / "cloud"), "--port", "0", "--seed", str(seed), "-o", "json")
    process = subprocess.Popen(
        command(*arguments, "--regions", f"{HANGZHOU},{SHANGHAI}"), env=environment(), stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        up = json.loads(process.stdout.readline())
        yield Cloud(up["endpoints"], Path(up["nas_root"]), root / "cloud")
    finally:
        process.terminate()
        process.communicate(timeout=30)
        assert process.returncode == 0


def _seed() -> str:
    start = json.dumps([sys.executable, "-I", str(_FUNCTION)])
    parts = [f'[[buckets]]\nregion = "{HANGZHOU}"\nname = "{BUCKET}"\n']
    parts += [
        f"""[[functions]]
region = "{region}"
functionName = "f-s{number:02d}"
runtime = "custom-container"
handler = "index.handler"
cpu = 1.0
memorySize = 2048
diskSize = 512
timeout = 60
role = "acs:ram::1234567890123456:role/acceptance"
environmentVariables = {{ MODELS = "m=MODEL_PATH,o=OTHER_PATH", OWNER = "acceptance" }}
customContainerConfig = {{ image = "acceptance/f:1", port = 9000, command = {start} }}
vpcConfig = {{ vpcId = "vpc-a", vSwitchIds = ["vsw-a"], securityGroupId = "sg-a" }}
"""
        for region in (HANGZHOU, SHANGHAI)
        for number in range(STAGES_MAX)
    ]
    return "\n".join(parts)


@dataclass
class Stage:
    """One fleet: what is asked of it is asked through the command."""

    cloud: Cloud
    home: Path
    model: str
    second: bool
    env: dict[str, str] = field(default_factory=environment)

    @property
    def config(self) -> Path:
        return self.home / "config.toml"

    @property
    def registry(self) -> Path:
        return self.home / "registry"

    @property
    def database(self) -> Path:
        return self.home / "syncd.db"

    @property
    def nas(self) -> Path:
        """Where this machine has the stage's NAS mounted."""
        return self.cloud.nas_root / f"{self.model}.nas.local"

    def prepare(self) -> None:
        self.registry.mkdir(parents=True)
        self.nas.mkdir(parents=True)
        self.env["SYNCD_CONFIG"] = str(self.config)
        self.configure()
        if not self.cloud.record.exists():
            assert self.run("db", "create").code == 0
            shutil.copyfile(self.database, self.cloud.record)
        shutil.copyfile(self.cloud.record, self.database)

    def configure(self, *changes: tuple[str, str]) -> None:
        """Write the configuration, with texts of it exchanged."""
        text = self._config()
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        self.config.write_text(text)

    def run(self, *arguments: str, limit_s: float = LIMIT_S) -> Done:
        return run(*arguments, env=self.env, limit_s=limit_s)

    def ask(self, *arguments: str) -> dict[str, Any]:
        done = self.run(*arguments, "-o", "json")
        assert done.code == 0, done
        return done.document

    def start(self, *arguments: str, **more: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command(*arguments), env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more
        )

    @contextmanager
    def daemon(self, *arguments: str) -> Iterator[Daemon]:
        """See `daemon_of`."""
        with daemon_of(self.home / "daemon.log", self.env, *arguments) as daemon:
            yield daemon

    def deliver(self, version: str, files: Mapping[str, bytes], *, listed: bool = True) -> Path:
        """What a training job does: written beside, listed, renamed."""
        final = self.registry / self.model / version
        staged = final.with_name(f"{version}.incomplete")
        write_files(staged, files)
        if listed:
            sums = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items())]
            (staged / "SHA256SUMS").write_text("".join(sums))
        staged.rename(final)
        return final

    def publish(self, version: str, files: Mapping[str, bytes] | None = None) -> Done:
        """Deliver and publish to the end, with whatever is running."""
        if files is not None:
            self.deliver(version, files)
        return self.run("publish", f"{self.model}@{version}", "--wait", "-o", "json")

    def live(self) -> set[str | None]:
        return {row["version"] for row in self.ask("status", self.model)["live"]}

    def slow(self, seconds: float, operation: str = "UploadPart", skip: int = 0) -> None:
        """Let every such call of this stage's bucket take longer, but the first `skip`."""
        rule = {
            "service": "oss",
            "operation": operation,
            "resource": f"{BUCKET}/{self.model}/.*",
            "skip": skip,
            "times": 0,
            "action": {"kind": "Delay", "seconds": seconds},
        }
        httpx.post(f"{self.cloud.endpoint}/_local/faults", json=rule).raise_for_status()

    def clear_faults(self) -> None:
        httpx.delete(f"{self.cloud.endpoint}/_local/faults").raise_for_status()

    def _config(self) -> str:
        return _BASE.format(stage=self, endpoint=self.cloud.endpoint, host=_host(self.cloud.endpoint)) + (
            _SECOND.format(stage=self, host=_host(self.cloud.endpoints[SHANGHAI])) if self.second else ""
        )


@dataclass(frozen=True)
class Daemon:
    """A started daemon and its log."""

    process: subprocess.Popen[bytes]
    log: Path

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """The log's events so far, all or those of one name. A line that is not JSON fails."""
        text = self.log.read_text()
        whole = text[: text.rfind("\n") + 1].splitlines()
        found = [json.loads(line) for line in whole]
        return [event for event in found if not name or event["event"] == name]

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(LIMIT_S)


@contextmanager
def daemon_of(log: Path, env: Mapping[str, str], *arguments: str) -> Iterator[Daemon]:
    """A running daemon, drained at the end unless the test has ended it."""
    with log.open("ab") as stream:
        process = subprocess.Popen(command("run", *arguments), env=env, stdout=stream, stderr=stream)
    daemon = Daemon(process, log)
    try:
        until(lambda: daemon.events("process.started") or process.poll() is not None, "the daemon to start")
        assert process.poll() is None, log.read_text()
        yield daemon
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(LIMIT_S)


def write_files(directory: Path, files: Mapping[str, bytes]) -> Path:
    shutil.rmtree(directory, ignore_errors=True)
    for name, data in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return directory


def small(version: str) -> dict[str, bytes]:
    """Files of a small version, each version's its own."""
    return {"config.json": json.dumps({"version": version}).encode(), "weights.bin": version.encode() * 1000}


def large(version: str, parts: int = 4) -> dict[str, bytes]:
    """Files of a version whose weights are several parts, all different."""
    block = hashlib.sha256(version.encode()).digest() * (PART_BYTES // 32)
    data = b"".join(bytes([number]) + block[1:] for number in range(parts))
    return {"config.json": b"{}", "weights.bin": data}


def digest_of(*roots: Path, without: Sequence[str] = ()) -> str:
    """One digest of every file below, by name and content."""
    sha = hashlib.sha256()
    for root in roots:
        for path in sorted(root.rglob("*")):
            if path.is_file() and not any(word in path.name for word in without):
                sha.update(f"{path}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return sha.hexdigest()


def _host(endpoint: str) -> str:
    return endpoint.removeprefix("http://")


_BASE: Final = """[state]
url = "sqlite:///{stage.database}"

[transfer]
buffer_bytes = "64MiB"
parts_in_flight = 2

[policy]
lease_s = 3.0
tick_s = 0.1
stage_poll_s = 0.05
retry_base_s = 0.1
retry_cap_s = 0.5
step_failures_max = 3
drain_s = 10.0

[registries.models]
kind = "directory"
path = "{stage.registry}"
poll_s = 0.5
jitter_s = 0.0

[credentials.local]
access_key_id = "local-access-key"
access_key_secret = {{ env = "ACCEPTANCE_SECRET" }}

[targets.hangzhou]
kind = "oss"
region = "cn-hangzhou"
endpoint = "{endpoint}"
bucket = "acceptance-models"
prefix = "{stage.model}/"
credentials = "local"

[runtimes.hangzhou]
kind = "fc"
region = "cn-hangzhou"
endpoint = "{host}"
protocol = "http"
credentials = "local"

[bindings.hangzhou]
runtime = "hangzhou"
function = "f-{stage.model}"
alias = "prod"

[[bindings.hangzhou.models]]
model = "{stage.model}"
target = "hangzhou"
mount_dir = "/mnt/model"
env = {{ path = "MODEL_PATH", digest = "MODEL_DIGEST" }}
"""

_SECOND: Final = """
[targets.shanghai]
kind = "nas"
region = "cn-shanghai"
path = "{stage.nas}"
server = "{stage.model}.nas.local"

[runtimes.shanghai]
kind = "fc"
region = "cn-shanghai"
endpoint = "{host}"
protocol = "http"
credentials = "local"

[bindings.shanghai]
runtime = "shanghai"
function = "f-{stage.model}"
alias = "prod"

[[bindings.shanghai.models]]
model = "{stage.model}"
target = "shanghai"
mount_dir = "/mnt/model"
env = {{ path = "MODEL_PATH", digest = "MODEL_DIGEST" }}
"""
