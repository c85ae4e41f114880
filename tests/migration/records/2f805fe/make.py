"""Makes `sqlite.sql.gz`, `postgresql.sql.gz` and `config.toml`: a record as syncd wrote it at commit 2f805fe.

Run it in a checkout of that commit, by the interpreter of its test environment (`make .venv/.test` there); Debian's
docker-registry must be installed. It takes a few minutes and starts nothing outside this machine:

    cd CHECKOUT && .venv/bin/python .../tests/migration/records/2f805fe/make.py sqlite|postgresql

Everything in the record is written by that commit's own commands, daemon and API on its local cloud. Its names in this
file (commands, settings, modules) are those of that commit. The record is stored as SQL text: what `sqlite3` and
`pg_dump --inserts` print of all tables, the engine's too.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import hmac
import importlib
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
HZ, SH = "cn-hangzhou", "cn-shanghai"
NAS: Final = "record.cn-shanghai.nas.local"
BIG_BYTES: Final = 20 << 20
HOOK_SECRET: Final = base64.b64encode(b"a secret of a webhook").decode()

# A model of its own for each thing that a record can have in it; each has a function of its own, but `lora`.
MODELS: Final = ("sdxl", "lora", "chat", "speech", "rank", "ocr", "pose", "tilt", "vision", "badly", "late", "big")
IN_SHANGHAI: Final = ("sdxl", "chat")


def say(line: str) -> None:
    """How far it is."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class Syncd:
    """The installed command of this checkout, in one world."""

    def __init__(self, home: Path, database: str, cloud: Mapping[str, Any], images: str) -> None:
        self.home = home
        self.cloud = cloud
        self.api = ""
        self.environment = os.environ | {
            "SYNCD_CONFIG": str(home / "config.toml"),
            "RECORD_SECRET": cloud["access_key_secret"],
            "RECORD_HOOK": f"whsec_{HOOK_SECRET}",
        }
        (home / "config.toml").write_text(_config(home, database, cloud, images))
        (home / "registry").mkdir()

    def __call__(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
        """Run a command to its end; what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "syncd", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if "json" not in arguments:
            say(f"$ syncd {' '.join(arguments)}  [{done.returncode}]")
        if done.returncode not in codes:
            raise RuntimeError(f"{arguments} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def ask(self, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self(*arguments, "-o", "json", codes=(0, 8)))
        return found

    @contextlib.contextmanager
    def daemon(self, *, killed: bool = False) -> Iterator[None]:
        """A daemon until the block ends: by SIGTERM, or by SIGKILL."""
        log = self.home / "daemon.log"
        log.write_bytes(b"")
        with log.open("ab") as stream:
            command = [sys.executable, "-m", "syncd", "run", "-o", "json"]
            process = subprocess.Popen(command, env=self.environment, stdout=stream, stderr=stream)
        try:
            self.api = until(lambda: _address(log), "the API to listen")
            yield
        finally:
            if killed:
                process.kill()
            else:
                process.terminate()
            process.wait(60)
            with (self.home / "daemons.log").open("ab") as all_logs:
                all_logs.write(log.read_bytes())

    def deliver(self, model: str, version: str, size_bytes: int = 5000) -> None:
        """What a training job does: files and a list of them, put there in one step."""
        place = self.home / "registry" / model / f"{version}.incomplete"
        place.mkdir(parents=True)
        # Most of a version is as it was in the one before, so that it can be copied at the target.
        files = {
            "weights.bin": random.Random(f"{model} {version}").randbytes(size_bytes),
            "tokenizer/vocab.txt": f"{model} {model}".encode() * 40,
            "config.json": json.dumps({"model": model, "version": version}).encode(),
        }
        for name, data in files.items():
            (place / name).parent.mkdir(exist_ok=True)
            (place / name).write_bytes(data)
        listed = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items()]
        (place / "SHA256SUMS").write_text("".join(listed))
        place.rename(place.with_name(version))

    def release(self, model: str) -> dict[str, Any]:
        """The newest release of a model, with what it waits for; {} where there is none."""
        under_way = {found["model"]: found for found in self.ask("status", model)["in_flight"]}
        if model in under_way:
            return dict(under_way[model])
        found = self.ask("releases", model, "--limit", "1")["releases"]
        return dict(found[0]) if found else {}

    def wait(self, model: str, ref: str, *phases: str, reason: str = "") -> str:
        """Until the newest release of a model is of a version, in a phase; its id."""

        def there() -> str:
            it = self.release(model)
            if not it or it["version"] != ref or it["phase"] not in phases:
                return ""
            return str(it["release"]) if reason in str(it.get("reason")) else ""

        found = until(there, f"{model}@{ref} to be {' or '.join(phases)} {reason}", lambda: self.release(model))
        say(f"{model}@{ref} is {found}, {self.release(model).get('reason')}")
        return found

    def post(self, path: str, body: bytes, **headers: str) -> dict[str, Any]:
        """One request to the API."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.api + path, body, sent | {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
        say(f"POST {path} {found.get('release', found)}")
        return found

    def fault(self, service: str, operation: str, resource: str, skip: int = 0, **action: object) -> None:
        """Have calls of the cloud fail, all after the first `skip`."""
        rule: dict[str, object] = {"service": service, "operation": operation, "resource": resource, "times": 0}
        rule |= {"skip": skip, "action": action}
        request = urllib.request.Request(f"{self.cloud['endpoints'][HZ]}/_local/faults", json.dumps(rule).encode())
        urllib.request.urlopen(request).close()

    def no_faults(self) -> None:
        request = urllib.request.Request(f"{self.cloud['endpoints'][HZ]}/_local/faults", method="DELETE")
        urllib.request.urlopen(request).close()

    def move(self, function: str, version: str, weights: Mapping[str, float]) -> None:
        """Point an alias somewhere, as a person does in the console."""
        fc: Any = importlib.import_module("alibabacloud_fc20230330.models")
        client: Any = importlib.import_module("alibabacloud_fc20230330.client").Client
        settings: Any = importlib.import_module("alibabacloud_tea_openapi.models").Config
        opened = client(
            settings(
                access_key_id=self.cloud["access_key_id"],
                access_key_secret=self.cloud["access_key_secret"],
                endpoint=self.cloud["endpoints"][HZ].removeprefix("http://"),
                protocol="http",
                region_id=HZ,
            )
        )
        body = fc.UpdateAliasInput(version_id=version, additional_version_weight=dict(weights))
        opened.update_alias(function, "prod", fc.UpdateAliasRequest(body=body))


def until(look: Callable[[], str], what: str, shown: Callable[[], object] = str, limit_s: float = 180.0) -> str:
    """Look until something is found."""
    deadline = time.monotonic() + limit_s
    while not (found := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {limit_s:.0f} s for {what}: {shown()}")
        time.sleep(0.3)
    return found


def _address(log: Path) -> str:
    for line in log.read_text().splitlines():
        event = json.loads(line)
        if event["event"] == "api listens":
            return str(event["address"])
    return ""


def story(syncd: Syncd, push_base: Callable[[], object]) -> None:
    """What happened to these models, in this order."""
    syncd("db", "upgrade")
    tokens = {role: syncd("token", "create", f"ci-{role}", "--role", role).strip() for role in ("publish", "operate")}
    syncd("token", "create", "left", "--role", "read")
    syncd("token", "revoke", "left")
    with syncd.daemon():
        _live_and_rolled_back(syncd)
        _stepwise(syncd)
        _waiting_for_people(syncd)
        _by_the_api(syncd, tokens)
        _stalled_and_cancelled(syncd)
        _images(syncd, push_base)
        _drift(syncd)
        _retired(syncd)
    with syncd.daemon(killed=True):
        _killed_in_mid_copy(syncd)
    syncd.no_faults()
    _restore_unfinished(syncd)


def _live_and_rolled_back(syncd: Syncd) -> None:
    for version in ("v1", "v2", "v3"):
        syncd.deliver("lora", version)
        syncd.wait("lora", version, "live")
    for version in ("v1", "v2"):
        syncd.deliver("sdxl", version, 3 * BIG_BYTES // 4)
        syncd.wait("sdxl", version, "live")
    syncd("rollback", "sdxl", "--why", "black images: «schwarz», 黑色图像")
    syncd.deliver("sdxl", "v3")  # held: it is not released


def _stepwise(syncd: Syncd) -> None:
    """One release is in the pause of its first stage; one had bad answers in it and went back, with a hold."""
    for model in ("chat", "badly"):
        syncd.deliver(model, "v1")
        syncd.wait(model, "v1", "live")
        syncd.deliver(model, "v2")
    syncd.wait("badly", "v2", "flipping", reason="good answers")
    body = '{"errorMessage": "CUDA out of memory"}'
    failed = {"X-Fc-Error-Type": "UnhandledInvocationError"}
    syncd.fault("fc", "InvokeFunction", "f-badly.*", kind="Answer", status=200, body=body, headers=failed)
    syncd.wait("badly", "v2", "undone")
    syncd.no_faults()
    syncd.wait("chat", "v2", "flipping", reason="until")


def _waiting_for_people(syncd: Syncd) -> None:
    syncd.deliver("speech", "v1")
    first = syncd.wait("speech", "v1", "staging", reason="approval")
    syncd("approve", first)
    syncd.wait("speech", "v1", "live")
    syncd.deliver("speech", "v2")
    syncd.wait("speech", "v2", "staging", reason="approval")
    syncd.deliver("rank", "v1")
    syncd.wait("rank", "v1", "live")
    syncd("freeze", "rank", "--why", "quarter's end", "--hours", "48")
    syncd.deliver("rank", "v2")
    syncd.wait("rank", "v2", "staging", reason="waits:")
    syncd.deliver("rank", "v3")  # takes the place of v2
    syncd.wait("rank", "v3", "staging", reason="waits:")
    syncd("hold", "ocr", "--why", "under investigation")
    syncd("unhold", "ocr")


def _by_the_api(syncd: Syncd, tokens: Mapping[str, str]) -> None:
    headers = {"Authorization": f"Bearer {tokens['publish']}", "Idempotency_Key": "build-4711"}
    body = json.dumps({"model": "late", "ref": "v1"}).encode()
    syncd.deliver("late", "v1")
    syncd.post("/v1/releases", body, **headers)
    syncd.post("/v1/releases", body, **headers)
    syncd.wait("late", "v1", "live")
    syncd.post("/v1/models/tilt/hold", b'{"why": "by the API"}', Authorization=f"Bearer {tokens['operate']}")
    for number in range(3):
        stamp, name = str(int(time.time())), f"msg-{number}"
        told = json.dumps({"type": "model.ready", "data": {"model": "late", "version": "v1"}}).encode()
        signed = hmac.new(base64.b64decode(HOOK_SECRET), f"{name}.{stamp}.".encode() + told, "sha256").digest()
        signature = f"v1,{base64.b64encode(signed).decode()}"
        syncd.post("/hooks/ci", told, webhook_id=name, webhook_timestamp=stamp, webhook_signature=signature)
    syncd.post("/v1/models/tilt/unhold", b"", Authorization=f"Bearer {tokens['operate']}")


def _stalled_and_cancelled(syncd: Syncd) -> None:
    syncd.deliver("ocr", "v1")
    syncd.wait("ocr", "v1", "live")
    syncd.fault(
        "oss", "PutObject|InitiateMultipartUpload", ".*/ocr/v2.*", kind="Answer", status=403, code="AccessDenied"
    )
    syncd.deliver("ocr", "v2")
    syncd.wait("ocr", "v2", "stalled")
    syncd.no_faults()
    syncd.deliver("speech", "v3")
    waiting = syncd.wait("speech", "v3", "staging", reason="approval")
    syncd("cancel", waiting, "--why", "wrong checkpoint")
    syncd.wait("speech", "v3", "cancelled")
    syncd.deliver("speech", "v4")
    syncd.wait("speech", "v4", "staging", reason="approval")


def _images(syncd: Syncd, push_base: Callable[[], object]) -> None:
    for version in ("v1", "v2"):
        syncd.deliver("vision", version, 300_000)
        syncd.wait("vision", version, "live")
    push_base()
    until(lambda: str(syncd.ask("status").get("bases") or ""), "the new base to be seen")


def _drift(syncd: Syncd) -> None:
    """One alias was moved and adopted, one restored, one moved and left so, one has weights that are not ours."""
    for model in ("pose", "tilt"):
        for version in ("v1", "v2"):
            syncd.deliver(model, version)
            syncd.wait(model, version, "live")
    syncd("hold", "pose", "--why", "moved manually")
    syncd.move("f-pose", "1", {})
    syncd("drift", "--look", codes=(8,))
    syncd("adopt", "pose-hz", "--why", "moved back at 3 a.m.")
    syncd.move("f-tilt", "1", {})
    syncd("drift", "--look", codes=(8,))
    syncd("restore", "tilt-hz", "--why", "edited by mistake")
    syncd.move("f-tilt", "2", {"1": 0.25})
    syncd.move("f-pose", "2", {})
    syncd("drift", "--look", codes=(8,))


def _retired(syncd: Syncd) -> None:
    syncd("retire", "lora@v1", "--why", "license withdrawn")
    syncd("retire", "ocr@v2", "--why", "never served", codes=(0, 9))
    syncd.deliver("lora", "v4")
    syncd.wait("lora", "v4", "live")


def _killed_in_mid_copy(syncd: Syncd) -> None:
    """Parts of a file are at the target, and the daemon that sent them is gone with its lease."""
    syncd.fault("oss", "UploadPart", ".*/big/.*", skip=3, kind="Delay", seconds=50)
    syncd.deliver("big", "v1", 4 * BIG_BYTES)
    until(lambda: "there" if _parts(syncd) >= 3 else "", "parts of big")
    time.sleep(2.5)  # two renewals of the lease, which write how far it is


def _parts(syncd: Syncd) -> int:
    with urllib.request.urlopen(f"{syncd.cloud['endpoints'][HZ]}/_local/counters") as answer:
        calls = json.load(answer)["calls"]
    return sum(call["operation"] == "UploadPart" and "/big/" in call["resource"] for call in calls)


def _restore_unfinished(syncd: Syncd) -> None:
    """The answer of the region is lost, and no daemon is there to go on with it."""
    syncd.fault("fc", "UpdateAlias|GetAlias", "f-tilt/prod", kind="Answer", status=500, code="InternalServerError")
    syncd("restore", "tilt-hz", "--why", "shares that are not ours", codes=(0, 5, 7, 9))
    syncd.no_faults()


def _config(home: Path, database: str, cloud: Mapping[str, Any], images: str) -> str:
    endpoints = cloud["endpoints"]
    text = f"""[state]
url = "{database}"
[transfer]
buffer_bytes = "64MiB"
parts_in_flight = 2
[policy]
approval = ["speech"]
step_failures_max = 2
retry_base_s = 0.2
retry_cap_s = 1.0
lease_s = 6.0
tick_s = 0.2
stage_poll_s = 0.1
drift_poll_s = 3600.0
[[policy.strategies]]
models = ["chat"]
waves = [["{HZ}"]]
steps = ["10% 100h", "100%"]
judge_samples = 3
[[policy.strategies]]
models = ["badly"]
steps = ["10% 90s"]
judge_samples = 90
[api]
listen = "127.0.0.1:0"
[hooks.ci]
kind = "standard"
secret = {{ env = "RECORD_HOOK" }}
registry = "files"
[registries.files]
kind = "directory"
path = "{home / "registry"}"
poll_s = 0.5
jitter_s = 0.0
[credentials.local]
access_key_id = "{cloud["access_key_id"]}"
access_key_secret = {{ env = "RECORD_SECRET" }}
[targets.hz]
kind = "oss"
region = "{HZ}"
endpoint = "{endpoints[HZ]}"
bucket = "record-hz"
credentials = "local"
[targets.sh]
kind = "nas"
region = "{SH}"
path = "{cloud["nas_root"]}/{NAS}"
server = "{NAS}"
[targets.images]
kind = "image"
region = "{HZ}"
repository = "{images}/vision"
base = "{images}/bases/server:1.0"
base_watch = "report"
base_poll_s = 1.0
"""
    for region in (HZ, SH):
        host = endpoints[region].removeprefix("http://")
        text += f'[runtimes.{region}]\nkind = "fc"\nregion = "{region}"\nendpoint = "{host}"\nprotocol = "http"\n'
        text += 'credentials = "local"\n'
    for model in MODELS:
        text += _binding(model, "hz", HZ)
    for model in IN_SHANGHAI:
        text += _binding(model, "sh", SH)
    return text


def _binding(model: str, target: str, region: str) -> str:
    if model == "lora":  # served by the function of sdxl: see there
        return ""
    name = f"{model}-{target}"
    text = f'[bindings.{name}]\nruntime = "{region}"\nfunction = "f-{model}"\nalias = "prod"\n'
    if name == "sdxl-hz":
        text += 'warm = 1\nrollback_warm = "10h"\n'
    text += f'[[bindings.{name}.models]]\nmodel = "{model}"\n'
    if model == "vision":
        text += 'target = "images"\n'
    else:
        text += f'target = "{target}"\nmount_dir = "/mnt/m"\n'
    text += 'env = { path = "M_PATH", digest = "M_DIGEST", version = "M_VERSION" }\n'
    if name == "sdxl-hz":
        text += f'[[bindings.{name}.models]]\nmodel = "lora"\ntarget = "hz"\nmount = "root"\nmount_dir = "/mnt/all"\n'
        text += 'env = { versions = "MODELS_JSON" }\n'
    return text


def _seed(image: str) -> str:
    text = f'[[buckets]]\nregion = "{HZ}"\nname = "record-hz"\n[[nas]]\nserver = "{NAS}"\n'
    program = Path.cwd() / "syncd" / "localcloud" / "example_function.py"
    command = json.dumps([sys.executable, "-I", str(program)])
    for model, region in [*((model, HZ) for model in MODELS), *((model, SH) for model in IN_SHANGHAI)]:
        both = model == "sdxl" and region == HZ
        models = f"{model}=M_PATH" + (",lora=MODELS_JSON:json" if both else "")
        text += f"""[[functions]]
region = "{region}"
functionName = "f-{model}"
runtime = "custom-container"
handler = "index.handler"
cpu = 1.0
memorySize = 1024
diskSize = 512
timeout = 60
role = "acs:ram::1234567890123456:role/record"
environmentVariables = {{ MODELS = "{models}", OWNER = "team" }}
customContainerConfig = {{ image = "{image if model == "vision" else "team/f:1"}", port = 9000, command = {command} }}
vpcConfig = {{ vpcId = "vpc-1", vSwitchIds = ["vsw-1"], securityGroupId = "sg-1" }}
"""
    return text


@contextlib.contextmanager
def local_cloud(home: Path, image: str) -> Iterator[dict[str, Any]]:
    """`syncd local up`, as a process."""
    (home / "seed.toml").write_text(_seed(image))
    command = [sys.executable, "-m", "syncd", "local", "up", "--root", str(home / "cloud"), "--port", "0"]
    command += ["--regions", f"{HZ},{SH}", "--seed", str(home / "seed.toml"), "-o", "json"]
    with (home / "cloud.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()


@contextlib.contextmanager
def database(kind: str, home: Path) -> Iterator[tuple[str, Callable[[], str]]]:
    """The URL of an empty database, and what gives all of it as SQL."""
    if kind == "sqlite":
        file = home / "syncd.db"
        yield f"sqlite:///{file}", lambda: _dumped(file)
        return
    server: Any = importlib.import_module("pgserver").get_server(home / "pg", cleanup_mode="delete")
    home.chmod(0o755)
    server.psql("CREATE DATABASE record")
    url = str(server.get_uri()).replace("/postgres?", "/record?").replace(":@", "@")
    programs = Path(importlib.import_module("pgserver").__file__ or "").parent / "pginstall" / "bin"
    command = [str(programs / "pg_dump"), "--inserts", "--no-owner", "--no-privileges", "--no-comments", url]
    try:
        yield (
            url.replace("postgresql://", "postgresql+psycopg://"),
            lambda: subprocess.run(command, capture_output=True, text=True, check=True).stdout,
        )
    finally:
        server.cleanup()


def _dumped(file: Path) -> str:
    with contextlib.closing(sqlite3.connect(file)) as connection:
        return "\n".join(connection.iterdump()) + "\n"


def _elsewhere(syncd: Syncd, url: str, images: str) -> str:
    """The configuration without this run's directory and ports."""
    text = (syncd.home / "config.toml").read_text().replace(url, "DATABASE").replace(images, "127.0.0.1:5000")
    for number, endpoint in enumerate(syncd.cloud["endpoints"].values(), start=9001):
        text = text.replace(endpoint.removeprefix("http://"), f"127.0.0.1:{number}")
    return text.replace(str(syncd.home), "/srv/record")


def main() -> None:
    kind = sys.argv[1]
    sys.path.insert(0, str(Path.cwd()))  # the tests of the checkout
    emulator: Any = importlib.import_module("tests.emulators.distribution")
    kitchen: Any = importlib.import_module("tests.unit.oci.kitchen")
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="record-")))
        (home / "images").mkdir()
        registry = stack.enter_context(emulator.distribution(home / "images"))
        kitchen.push_base(registry)
        images = registry.origin.removeprefix("http://")
        url, dump = stack.enter_context(database(kind, home))
        cloud = stack.enter_context(local_cloud(home, f"{images}/bases/server:1.0"))
        syncd = Syncd(home, url, cloud, images)
        try:
            story(syncd, lambda: kitchen.push_base(registry, created="2026-12-01T00:00:00Z"))
        except Exception:
            logs = [path.read_text()[-6000:] for path in home.glob("daemon.log")]
            say("\n".join(logs))
            raise
        with gzip.GzipFile(HERE / f"{kind}.sql.gz", "wb", mtime=0) as out:
            out.write(dump().encode())
        (HERE / "config.toml").write_text(_elsewhere(syncd, url, images))


if __name__ == "__main__":
    main()
