"""Terminal sessions: `python -m bench.terminal OLD NEW` writes docs/bench/terminal.md.

OLD and NEW are the `syncd` commands of two installations. For each, a local cloud of two regions and a record are made,
and the same commands are typed into a terminal of 100 columns and 40 rows (tmux). What stands on the screen at the end
is the page. Names and paths of this machine are replaced.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).parents[1] / "docs" / "bench" / "terminal.md"
COLUMNS, ROWS = 100, 40
LIMIT_S: Final = 60.0
REGIONS: Final = ("cn-hangzhou", "cn-shanghai")
_FUNCTION: Final = """
import hashlib, http.server, os, pathlib
def digest():
    place = pathlib.Path(os.environ.get("LOCALCLOUD_ROOT", "") + os.environ["M_PATH"])
    return hashlib.sha256((place / ".syncd/manifest.json").read_bytes()).hexdigest()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = ('{"digest": "%s"}' % digest()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words):
        pass
port = int(os.environ.get("FC_CUSTOM_LISTEN_PORT", "9000"))
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@dataclass
class Side:
    """One installation with its world."""

    syncd: Path
    home: Path
    endpoints: dict[str, str] = field(default_factory=dict)
    nas: Path = Path()
    daemon: subprocess.Popen[bytes] | None = None
    token: str = ""

    @property
    def config(self) -> Path:
        return self.home / "config.toml"

    @property
    def env(self) -> dict[str, str]:
        return {
            "PATH": f"{self.syncd.parent}:/usr/bin:/bin",
            "HOME": str(self.home),
            "USER": "ann",
            "LANG": "C.UTF-8",
            "TERM": "screen",
            "SYNCD_CONFIG": str(self.config),
            "SECRET": "local-access-secret",
            "SYNCD_TOKEN": self.token,
            "PROMPT_COMMAND": f"echo >> {self.home}/prompts",
        }

    def run(self, *words: str) -> int:
        """Run a command of this side, unseen."""
        done = subprocess.run([self.syncd, *words], env=self.env, cwd=self.home, capture_output=True, check=False)
        return done.returncode

    def deliver(self, version: str) -> None:
        """What a training job does."""
        final = self.home / "registry" / "sdxl" / version
        staged = final.with_name(f"{version}.incomplete")
        staged.mkdir(parents=True)
        (staged / "weights.bin").write_bytes(version.encode() * 50_000)
        sums = subprocess.run(["sha256sum", "weights.bin"], cwd=staged, capture_output=True, check=True).stdout
        (staged / "SHA256SUMS").write_bytes(sums)
        staged.rename(final)

    def live(self, version: str) -> None:
        """Release it, unseen."""
        if self.run("publish", f"sdxl@{version}", "--wait") != 0:
            raise SystemExit(f"{self.syncd}: {version} could not be released")

    def start(self) -> None:
        """Start the daemon."""
        with (self.home / "daemon.log").open("ab") as log:
            self.daemon = subprocess.Popen([self.syncd, "run"], env=self.env, cwd=self.home, stdout=log, stderr=log)
        _until(lambda: self.run("health", "--liveness") == 0 or self.run("health") in {0, 11}, "the daemon")

    def stop(self) -> None:
        """End the daemon."""
        if self.daemon is not None:
            self.daemon.terminate()
            self.daemon.wait()
            self.daemon = None

    def write(self, *, policy: str = "", more: str = "", poll_s: float = 3600.0) -> None:
        """The configuration."""
        hangzhou = self.endpoints[REGIONS[0]]
        bindings = "".join(
            f"""
[bindings.{region.removeprefix("cn-")}]
runtime = "{region}"
function = "paint"
alias = "prod"
[[bindings.{region.removeprefix("cn-")}.models]]
model = "sdxl"
target = "{region.removeprefix("cn-")}"
mount_dir = "/mnt/m"
env = {{ path = "M_PATH", digest = "M_DIGEST", version = "M_VERSION" }}
"""
            for region in REGIONS
        )
        runtimes = "".join(
            f"""
[runtimes.{region}]
kind = "fc"
region = "{region}"
endpoint = "{self.endpoints[region].removeprefix("http://")}"
protocol = "http"
credentials = "local"
"""
            for region in REGIONS
        )
        self.config.write_text(f"""
[state]
url = "sqlite:///{self.home}/syncd.db"
[policy]
tick_s = 0.2
stage_poll_s = 0.1
retry_base_s = 5.0
retry_cap_s = 60.0
step_failures_max = 8
{policy}
[registries.models]
kind = "directory"
path = "{self.home}/registry"
models = ["*"]
poll_s = {poll_s}
jitter_s = 0.0
settle_s = 0.1
[credentials.local]
access_key_id = "local-access-key"
access_key_secret = {{ env = "SECRET" }}
[targets.hangzhou]
kind = "oss"
region = "cn-hangzhou"
endpoint = "{hangzhou}"
bucket = "models"
credentials = "local"
[targets.shanghai]
kind = "nas"
region = "cn-shanghai"
path = "{self.nas}"
server = "nas.local"
{runtimes}{bindings}{more}""")


@dataclass(frozen=True)
class Session:
    """One number of the list: what is prepared unseen, and the keys that are typed.

    A key `^C` interrupts the command before it, once `until` stands on the screen.
    """

    title: str
    typed: tuple[str, ...]
    prepare: Callable[[Side], None] = lambda _side: None
    until: str = ""


def _two_versions(side: Side) -> None:
    for version in ("v1", "v2"):
        side.deliver(version)
    side.live("v1")


def _served(side: Side) -> None:
    """A daemon with an API."""
    side.write(more='[api]\nlisten = "127.0.0.1:8484"\n')
    made = subprocess.run(
        [side.syncd, "token", "create", "ann", "-o", "json"], env=side.env, capture_output=True, check=True
    )
    side.token = json.loads(made.stdout)["token"]
    side.start()


def _blocked(side: Side) -> None:
    """A release that cannot end: the NAS is away."""
    side.stop()
    side.write()
    side.deliver("v3")
    side.nas.rename(side.nas.with_name("away"))


def _back(side: Side) -> None:
    side.nas.with_name("away").rename(side.nas)
    side.run("publish", "sdxl@v3", "--wait")


def _typos(side: Side) -> None:
    policy = 'approval = ["sdxxl"]\nstrategies = ["sdlx/*"]\nleases_s = 3'
    side.write(policy=policy, more='[policies]\ntick_s = "soon"\n')


def _daemon_and_no_nas(side: Side) -> None:
    side.write(poll_s=0.5)
    side.start()
    side.nas.rename(side.nas.with_name("away"))
    time.sleep(20)


def _corrupt(side: Side) -> None:
    side.stop()
    side.nas.with_name("away").rename(side.nas)
    with (side.home / "syncd.db").open("r+b") as file:
        file.write(b"not a database" * 4000)


SESSIONS: Final = (
    Session("A short name", ("syncd publish sdxl-v2 --wait", "syncd publish sdxl-v9", "syncd versions sdxl"),
            _two_versions),
    Session("Reading from another machine", ("syncd status --server http://127.0.0.1:8484",
            "syncd versions sdxl --server http://127.0.0.1:8484", "syncd releases --server http://127.0.0.1:8484"),
            _served),
    Session("Ctrl-C", ("syncd publish sdxl@v3 --wait", "^C"), _blocked, until=r"is not there"),
    Session("Due now", ("syncd status", "syncd retry")),
    Session("Back to a version, and out of service", ("syncd rollback sdxl --to v1 --why 'v3 paints badly'",
            "syncd retire sdxl@v2 --plan"), _back),
    Session("Typing errors in safety settings", ("syncd config check", "syncd config check --strict -o json"), _typos),
    Session("Health", ("syncd health", "syncd health --liveness", "syncd status"), _daemon_and_no_nas),
    Session("A damaged record", ("syncd status",), _corrupt),
    Session("The first hour", ("syncd config init --local --help", "syncd local up --help")),
)  # fmt: skip


def main() -> None:
    """Play every session on both sides and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("old", type=Path, help="the `syncd` command of the installation before")
    parser.add_argument("new", type=Path, help="that of the installation after")
    asked = parser.parse_args()
    screens = [list(_screens(each.absolute())) for each in (asked.old, asked.new)]
    PAGE.write_text(_page(list(zip(*screens, strict=True))))
    print(PAGE)


def _page(screens: Sequence[tuple[str, str]]) -> str:
    lines = [
        "# At the terminal, before and after",
        "",
        "Written by `python -m bench.terminal`: the same commands, typed into a terminal of 100 columns (tmux),",
        "with the program as it stood at commit 2f805fe and as it is. Two regions of a local cloud, one on OSS,",
        "one on a NAS. Names and paths of the machine are replaced.",
    ]
    for number, (session, (before, after)) in enumerate(zip(SESSIONS, screens, strict=True), 1):
        lines += ["", f"## {number}. {session.title}", "", "Before:", "", "```text", before, "```", ""]
        lines += ["After:", "", "```console", after, "```"]
    return "\n".join(lines) + "\n"


def _screens(syncd: Path) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="syncd-terminal-") as name:
        side = Side(syncd, Path(name))
        with _cloud(side):
            side.write()
            if side.run("db", "create") != 0 and side.run("db", "upgrade") != 0:
                raise SystemExit(f"{syncd}: no record")
            try:
                for session in SESSIONS:
                    session.prepare(side)
                    yield _without_names(_played(side, session), side)
            finally:
                side.stop()


@contextmanager
def _cloud(side: Side) -> Iterator[None]:
    (side.home / "function.py").write_text(_FUNCTION)
    command = json.dumps([sys.executable, "-I", str(side.home / "function.py")])
    functions = "".join(
        f"""
[[functions]]
region = "{region}"
functionName = "paint"
runtime = "custom-container"
handler = "index.handler"
cpu = 1.0
memorySize = 2048
diskSize = 512
timeout = 60
role = "acs:ram::1234567890123456:role/paint"
customContainerConfig = {{ image = "demo/paint:1", port = 9000, command = {command} }}
vpcConfig = {{ vpcId = "vpc-1", vSwitchIds = ["vsw-1"], securityGroupId = "sg-1" }}
"""
        for region in REGIONS
    )
    seed = '[[buckets]]\nregion = "cn-hangzhou"\nname = "models"\n[[nas]]\nserver = "nas.local"\n'
    (side.home / "seed.toml").write_text(seed + functions)
    words = ["local", "up", "--root", "cloud", "--regions", ",".join(REGIONS), "--port", "0", "--seed", "seed.toml"]
    process = subprocess.Popen(
        [side.syncd, *words, "-o", "json"],
        env=side.env,
        cwd=side.home,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        up = json.loads(process.stdout.readline())
        side.endpoints, side.nas = up["endpoints"], Path(up["nas_root"]) / "nas.local"
        side.nas.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _played(side: Side, session: Session) -> str:
    """What stands on the screen after the session."""
    name = f"{side.home.name}-{SESSIONS.index(session)}"
    prompts = side.home / "prompts"
    prompts.write_text("")

    def tmux(*words: str) -> str:
        done = subprocess.run(["tmux", "-L", name, *words], env=side.env, capture_output=True, text=True, check=True)
        return done.stdout

    def screen() -> str:
        return tmux("capture-pane", "-p", "-J", "-S", "-400", "-t", "0")

    tmux("-f", "/dev/null", "new-session", "-d", "-x", str(COLUMNS), "-y", str(ROWS), "-c", str(side.home),
         "bash --norc --noprofile")  # fmt: skip
    try:
        _until(lambda: prompts.read_text().count("\n") >= 1, "a prompt")
        for number, each in enumerate(session.typed, 1):
            if each == "^C":
                tmux("send-keys", "-t", "0", "C-c")
            else:
                tmux("send-keys", "-t", "0", "-l", each)
                tmux("send-keys", "-t", "0", "Enter")
            if session.typed[number : number + 1] == ("^C",):
                _until(lambda: re.search(session.until, screen().partition("\n")[2]) is not None, session.until)
                time.sleep(2.0)
                continue
            wanted = number + 1 - session.typed[:number].count("^C")
            _until(lambda wanted=wanted: prompts.read_text().count("\n") >= wanted, each)  # type: ignore[misc]
        return re.sub(r"(?m)^bash-[\d.]+[#$] ?", "$ ", screen()).rstrip().removesuffix("$").rstrip()
    finally:
        tmux("kill-server")


def _without_names(text: str, side: Side) -> str:
    text = text.replace(str(side.home), "/srv/syncd")
    text = text.replace(str(side.syncd.parent), "/usr/bin").replace(str(side.syncd.parents[2]), "/opt/syncd")
    text = re.sub(r"127\.0\.0\.1:(?!8484)\d+", "127.0.0.1:18080", text)
    text = re.sub(r"\b[\w.-]+:\d+:[0-9a-f]{8}\b", "host:4711:0a1b2c3d", text)
    text = re.sub(r"\bann@[\w.-]+", "ann@host", text)
    return "\n".join(line.rstrip() for line in text.splitlines())


def _until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not is_so():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {LIMIT_S:.0f} s for {what}")
        time.sleep(0.1)


if __name__ == "__main__":
    if shutil.which("tmux") is None:
        sys.exit("tmux is needed")
    main()
