"""Files and climbs of three walks: a warm part, an alias flip, a publish to its row in the record.

Run it by the interpreter of the checkout that is measured; `--names` names the files and the climbs:

    /path/to/checkout/.venv/bin/python bench/walks.py [--names]

Each walk is started by public commands in this process, against a local cloud in another one, and recorded with
`sys.setprofile` in all threads. A relay before the cloud marks the requests that begin and end a walk, so that the
script needs no names of modules or functions but those of the packages `transfer` and `runtime`, and of `cli.main`.

* A walk **passes** a file of `syncd` when a function of that file is entered. Importing a file does not count, and
  the local cloud does not count.
* A walk **climbs** where a file calls a function of a file that imports it, directly or through others, and that it
  does not import itself: a callback against the order of imports. Each pair of files counts once.

`part`: parts 5 to 8 of 12, of 8 MiB each, that one worker sends to OSS. The files that at least two of the four pass
below a frame of `transfer` count. `flip`: from the call by which a worker thread of the engine enters syncd to its
return, around the request that moves the alias. `publish`: from `main` to the commit of the row in `releases`, while a
daemon runs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final, NamedTuple

import grimp
import sqlalchemy as sa
import syncd
from syncd.cli.main import main as syncd_main

TARGETS: Final = {"part": 15, "flip": 18, "publish": 30}  # files, at most
ROOT: Final = Path(syncd.__file__).parent
PART_BYTES: Final = 8 << 20
REGION, BUCKET, FUNCTION = "cn-hangzhou", "walks", "serve"
PART_NUMBERS: Final = (5, 9)  # the walk begins with the request of the first and ends with that of the last
_REQUEST: Final = re.compile(rb"(PUT|POST) (\S+) HTTP/1\.1\r\n")
_PART: Final = re.compile(r"partNumber=(\d+)")
_ALIAS: Final = re.compile(r"/aliases/prod(\?|$)")

# It answers with the digest that it is given: whether the bytes are right is not what is measured here.
SERVER: Final = """
import http.server, json, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.dumps({"digest": os.environ.get("M_DIGEST")}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_GET = do_POST
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["FC_CUSTOM_LISTEN_PORT"])), Handler).serve_forever()
"""


class Event(NamedTuple):
    """A function of a file is entered, or left."""

    at: int
    entered: bool
    file: str


class Call(NamedTuple):
    """A function of `file` is entered. `caller` is the next file of syncd on the stack; "" where there is none."""

    at: int
    caller: str
    file: str
    below: frozenset[str]  # packages with a frame on the thread's stack, the file's own too


class Recorder:
    """What `sys.setprofile` reports about files of syncd, by thread."""

    def __init__(self) -> None:
        self.threads: dict[int, list[Event]] = {}
        self._files: dict[CodeType, str] = {}

    def start(self) -> None:
        """Record this thread and all that are begun from now on."""
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)

    @staticmethod
    def stop() -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    def calls(self, thread: int) -> Iterator[Call]:
        """The thread's calls in order. What runs while a module is imported is left out."""
        stack: list[str] = []
        for at, entered, file in self.threads[thread]:
            if not entered:
                if stack:
                    stack.pop()
                continue
            caller = stack[-1] if stack else ""
            stack.append(file)
            if "<import>" not in stack:
                yield Call(at, caller, file, frozenset(each.partition("/")[0] for each in stack))

    def span(self, thread: int, at: int) -> tuple[int, int]:
        """From when to when the outermost function of syncd ran in which the thread was at a moment."""
        depth, begun = 0, 0
        for event in self.threads[thread]:
            if depth == 0:
                begun = event.at
            depth = max(0, depth + (1 if event.entered else -1))
            if depth == 0 and begun <= at <= event.at:
                return begun, event.at
        raise LookupError(f"no function of syncd ran in thread {thread} at {at}")

    def _profile(self, frame: FrameType, event: str, _argument: object) -> None:
        if event not in {"call", "return"}:
            return
        code = frame.f_code
        file = self._files.get(code)
        if file is None:
            file = self._files[code] = _file_of(code)
        if file:
            self.threads.setdefault(threading.get_ident(), []).append(
                Event(time.perf_counter_ns(), event == "call", file)
            )


def _file_of(code: CodeType) -> str:
    path = Path(code.co_filename)
    if not path.is_relative_to(ROOT) or path.is_relative_to(ROOT / "localcloud"):
        return ""
    return "<import>" if code.co_name == "<module>" else path.relative_to(ROOT).as_posix()


@dataclass
class Relay:
    """Passes bytes to a port, and notes when a request that writes comes in."""

    port: int
    requests: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def when(self, pattern: re.Pattern[str], since: int) -> list[tuple[int, str]]:
        """When requests came whose target matches, with the match's first group."""
        found = [(at, pattern.search(target)) for at, target in self.requests if at >= since]
        return [(at, match.group(1)) for at, match in found if match]

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self.port))
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(1 << 16):
                if match := _REQUEST.match(piece):
                    self.requests.append((time.perf_counter_ns(), match.group(2).decode()))
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)


@dataclass
class Walk:
    """The files that a walk passes, and its climbs as (caller, called)."""

    files: set[str] = field(default_factory=set)
    climbs: set[tuple[str, str]] = field(default_factory=set)


class Imports:
    """The order of imports within syncd."""

    def __init__(self) -> None:
        self._graph = grimp.build_graph("syncd", exclude_type_checking_imports=True)

    def walk(self, calls: list[Call]) -> Walk:
        pairs = {(call.caller, call.file) for call in calls if call.caller and call.caller != call.file}
        return Walk({call.file for call in calls}, {pair for pair in pairs if self._climbs(*pair)})

    def _climbs(self, caller: str, called: str) -> bool:
        low, high = _module_of(caller), _module_of(called)
        return self._imports(high, low) and not self._imports(low, high)

    def _imports(self, importer: str, imported: str) -> bool:
        return self._graph.chain_exists(importer=importer, imported=imported)


def _module_of(file: str) -> str:
    return ".".join(("syncd", *Path(file).with_suffix("").parts)).removesuffix(".__init__")


class World:
    """A directory with a registry, a record and a configuration; one region of a local cloud behind a relay."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "serve.py").write_text(SERVER)
        (home / "seed.toml").write_text(_seed(home / "serve.py"))
        up = [sys.executable, "-m", "syncd", "local", "up", "--root", str(home / "cloud"), "--port", "0"]
        up += ["--regions", REGION, "--seed", str(home / "seed.toml"), "-o", "json"]
        with (home / "cloud.log").open("wb") as log:
            self.cloud = subprocess.Popen(up, stdout=subprocess.PIPE, stderr=log, start_new_session=True)
        assert self.cloud.stdout is not None
        answer: dict[str, Any] = json.loads(self.cloud.stdout.readline())
        self.relay = Relay(int(answer["endpoints"][REGION].rpartition(":")[2]))
        os.environ |= {"WALKS_SECRET": answer["access_key_secret"], "SYNCD_CONFIG": str(home / "config.toml")}
        (home / "config.toml").write_text(_config(home, self.relay.host, answer["access_key_id"]))

    def close(self) -> None:
        self.cloud.terminate()
        self.cloud.wait(30)
        assert self.cloud.stdout is not None
        self.cloud.stdout.close()
        self.relay.close()

    def deliver(self, version: str, size_bytes: int) -> None:
        place = self.home / "registry" / "m" / version
        place.mkdir(parents=True)
        (place / "weights.bin").write_bytes(random.Random(version).randbytes(size_bytes))
        (place / "READY").touch()

    @contextlib.contextmanager
    def daemon(self) -> Iterator[None]:
        """A daemon in a process of its own, which says that it has started."""
        with (self.home / "daemon.log").open("wb") as log:
            process = subprocess.Popen([sys.executable, "-m", "syncd", "run"], stdout=log, stderr=log)
        try:
            _until(lambda: "process.started" in (self.home / "daemon.log").read_text(), "the daemon to start")
            yield
        finally:
            process.terminate()
            process.wait(60)


def _until(is_true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not is_true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited 60 s for {what}")
        time.sleep(0.1)


def _seed(program: Path) -> str:
    command = json.dumps([sys.executable, "-I", str(program)])
    return f"""[[buckets]]
region = "{REGION}"
name = "{BUCKET}"
[[functions]]
region = "{REGION}"
functionName = "{FUNCTION}"
runtime = "custom-container"
handler = "index.handler"
cpu = 1.0
memorySize = 1024
diskSize = 512
timeout = 60
role = "acs:ram::1234567890123456:role/walks"
customContainerConfig = {{ image = "walks/serve:1", port = 9000, command = {command} }}
vpcConfig = {{ vpcId = "vpc-1", vSwitchIds = ["vsw-1"], securityGroupId = "sg-1" }}
"""


def _config(home: Path, host: str, access_key_id: str) -> str:
    return f"""[state]
url = "sqlite:///{home / "syncd.db"}"
[transfer]
buffer_bytes = "16MiB"
parts_in_flight = 1
files_in_flight = 1
[policy]
auto_release = false
tick_s = 0.2
stage_poll_s = 0.1
[registries.files]
kind = "directory"
path = "{home / "registry"}"
settle_s = 0.0
[credentials.local]
access_key_id = "{access_key_id}"
access_key_secret = {{ env = "WALKS_SECRET" }}
[targets.here]
kind = "oss"
region = "{REGION}"
endpoint = "http://{host}"
bucket = "{BUCKET}"
credentials = "local"
[runtimes.here]
kind = "fc"
region = "{REGION}"
endpoint = "{host}"
protocol = "http"
credentials = "local"
[bindings.serve]
runtime = "here"
function = "{FUNCTION}"
alias = "prod"
[[bindings.serve.models]]
model = "m"
target = "here"
mount_dir = "/mnt/m"
env = {{ digest = "M_DIGEST" }}
"""


def command(*arguments: str) -> None:
    """Run a command of syncd in this process."""
    code: object = 0
    with contextlib.redirect_stdout(sys.stderr):
        try:
            syncd_main(arguments)
        except SystemExit as ended:
            code = ended.code
    if code:
        raise RuntimeError(f"syncd {' '.join(arguments)} ended with {code}")


def part(recorder: Recorder, imports: Imports, relay: Relay, since: int) -> Walk:
    """See the module's docstring."""
    begun = {int(number): at for at, number in relay.when(_PART, since)}
    marks = [begun[number] for number in range(PART_NUMBERS[0], PART_NUMBERS[1] + 1)]
    copying = [call for thread in recorder.threads for call in recorder.calls(thread) if "transfer" in call.below]
    walks = [
        imports.walk([call for call in copying if since_ns <= call.at < until_ns])
        for since_ns, until_ns in pairwise(marks)
    ]
    return Walk(
        {file for file, times in Counter(file for walk in walks for file in walk.files).items() if times > 1},
        {pair for pair, times in Counter(pair for walk in walks for pair in walk.climbs).items() if times > 1},
    )


def flip(recorder: Recorder, imports: Imports, relay: Relay, since: int) -> Walk:
    """See the module's docstring."""
    moved = relay.when(_ALIAS, since)[-1][0]
    for thread in recorder.threads:
        if thread == threading.get_ident():
            continue  # the command's own: it is in `main` all the time
        calls = [call for call in recorder.calls(thread) if call.at <= moved]
        if calls and moved - calls[-1].at < 1e9 and "runtime" in calls[-1].below:
            begun, ended = recorder.span(thread, moved)
            return imports.walk([call for call in recorder.calls(thread) if begun <= call.at <= ended])
    raise LookupError("no thread was in syncd/runtime when the alias was moved")


def publish(recorder: Recorder, imports: Imports, since: int, committed: int) -> Walk:
    """See the module's docstring."""
    calls = recorder.calls(threading.get_ident())
    return imports.walk([call for call in calls if since <= call.at <= committed])


class Commits:
    """When a transaction that inserted into `releases` was committed."""

    def __init__(self) -> None:
        self.at: list[int] = []
        self._inserted = False
        sa.event.listen(sa.Engine, "before_cursor_execute", self._executes)
        sa.event.listen(sa.Engine, "commit", self._commits)

    def _executes(self, _conn: object, _cursor: object, statement: str, *_rest: object) -> None:
        self._inserted |= statement.startswith("INSERT INTO releases ")

    def _commits(self, _conn: object) -> None:
        if self._inserted:
            self.at.append(time.perf_counter_ns())
        self._inserted = False


def walks() -> dict[str, Walk]:
    """Play the commands and count."""
    recorder, commits = Recorder(), Commits()
    with tempfile.TemporaryDirectory(prefix="syncd-walks-") as home:
        world = World(Path(home))
        try:
            recorder.start()
            try:
                command("db", "create")
            except RuntimeError:  # a commit that had no such command yet
                command("db", "upgrade")
            world.deliver("v1", 1000)
            command("publish", "m@v1", "--wait")  # warm: all is imported, connections and functions are there
            world.deliver("v2", 12 * PART_BYTES)
            copied = time.perf_counter_ns()
            command("publish", "m@v2", "--wait")
            world.deliver("v3", 1000)
            with world.daemon():
                asked = time.perf_counter_ns()
                command("publish", "m@v3")
        finally:
            recorder.stop()
            world.close()
    imports = Imports()
    return {
        "part": part(recorder, imports, world.relay, copied),
        "flip": flip(recorder, imports, world.relay, copied),
        "publish": publish(recorder, imports, asked, commits.at[-1]),
    }


def main() -> int:
    """Print the figures; 1 where a walk passes more files than it is to."""
    parser = argparse.ArgumentParser(description="Files and climbs of three walks.")
    parser.add_argument("--names", action="store_true", help="name the files and the climbs")
    names = parser.parse_args().names
    found = walks()
    print(f"{'WALK':10}{'FILES':>6}{'AT MOST':>9}{'CLIMBS':>8}")
    for name, walk in found.items():
        print(f"{name:10}{len(walk.files):6}{TARGETS[name]:9}{len(walk.climbs):8}")
    for name, walk in found.items() if names else ():
        print(f"\n{name}\n  files   " + "\n          ".join(sorted(walk.files)))
        print("  climbs  " + "\n          ".join(f"{low} -> {high}" for low, high in sorted(walk.climbs)))
    return int(any(len(walk.files) > TARGETS[name] for name, walk in found.items()))


if __name__ == "__main__":
    sys.exit(main())
