"""One function instance as a local process: start, HTTP calls, and termination of the whole process tree."""

import contextlib
import http.client
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from syncd.localcloud.fc.errors import FcError, not_started
from syncd.localcloud.fc.instances import launch

ROOT_VARIABLE = "LOCALCLOUD_ROOT"
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
_POLL_S = 0.01
_EXIT_GRACE_S = 0.2
_PASSES_MAX = 5
_KILL_LIMIT_S = 5.0  # a killed process ends within milliseconds, unless it waits for a disk
_LOG_TAIL_BYTES = 4096


@dataclass(frozen=True, slots=True)
class FunctionResponse:
    """The response of a function's own server."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class InstancePaths:
    """An instance's paths: the directory that stands for its `/`, and its log file."""

    root: Path
    log: Path


class Spawner:
    """Starts processes from one thread that lives as long as the server.

    PR_SET_PDEATHSIG fires at the end of the parent *thread*, so a connection's thread must not start processes.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fc-spawner")
        self._guard = threading.Lock()
        self._ports: set[int] = set()

    def start(self, argv: Sequence[str], env: Mapping[str, str], root: Path, log: Path) -> subprocess.Popen[bytes]:
        """Start the program in `root`, output appended to `log`. Raises FcError once the server stops."""
        try:
            return self._thread.submit(self._popen, argv, env, root, log).result()
        except OSError as cause:  # such as an argument list that is too long
            raise FcError(412, "CAFileNotFound", f"function program can not be started: {cause}") from cause
        except RuntimeError as cause:
            raise FcError(503, "ServiceUnavailable", "the region is stopping") from cause

    def take_port(self) -> int:
        """Reserve a free port until `give_back`.

        Two processes with the same port would both look ready as soon as one of them is.
        """
        with self._guard:
            while (port := _free_port()) in self._ports:
                pass
            self._ports.add(port)
            return port

    def give_back(self, port: int) -> None:
        with self._guard:
            self._ports.discard(port)

    def close(self) -> None:
        """Start no more processes. Stop running processes before: this kills them."""
        self._thread.shutdown(wait=True)

    @staticmethod
    def _popen(argv: Sequence[str], env: Mapping[str, str], root: Path, log: Path) -> subprocess.Popen[bytes]:
        launcher = [sys.executable, "-I", "-S", str(launch.__file__), str(os.getpid())]
        with log.open("ab") as output:
            return subprocess.Popen(
                [*launcher, *argv],
                env=env,
                cwd=root,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )


class FunctionProcess:
    """A process that serves one configuration of a function. Thread-safe.

    Its environment is `variables`, a few inherited variables such as PATH, the port to listen on
    (FC_CUSTOM_LISTEN_PORT), and the directory that stands for `/` (LOCALCLOUD_ROOT).
    """

    def __init__(
        self, spawner: Spawner, argv: Sequence[str], variables: Mapping[str, str], place: InstancePaths
    ) -> None:
        self.created_s = time.time()
        self._place = place
        self._spawner = spawner
        self._port = spawner.take_port()
        self._stopping = threading.Lock()
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        port_and_root = {"FC_CUSTOM_LISTEN_PORT": str(self._port), ROOT_VARIABLE: str(place.root)}
        self._process = spawner.start(argv, {**inherited, **variables, **port_and_root}, place.root, place.log)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def wait_ready(self, limit_s: float, health_path: str = "") -> None:
        """Return once the port accepts connections and the health check, if there is one, answers 200 to 399.

        Raises:
            FcError: The program does not exist (CAFileNotFound), ended (CAExited), or took too long.
        """
        deadline = time.monotonic() + limit_s
        while not (self._healthy(health_path) if health_path else _accepts(self._port)):
            code = self._process.poll()
            if code == 127:
                raise FcError(412, "CAFileNotFound", f"function program can not be started: {self.log_tail()}")
            if code is not None:
                raise FcError(412, "CAExited", f"function process exited with code {code}: {self.log_tail()}")
            if time.monotonic() > deadline:
                raise not_started(f"Function instance health check failed on port {self._port} in {limit_s:g} seconds")
            time.sleep(_POLL_S)

    def post(self, path: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> FunctionResponse:
        """Send one request to the function's server.

        Raises:
            TimeoutError: No response within `timeout_s`.
            ConnectionError: The process ended, or its response was not HTTP.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=timeout_s)
        try:
            connection.request("POST", path, body=body, headers=dict(headers))
            answer = connection.getresponse()
            return FunctionResponse(answer.status, answer.read())
        except (http.client.HTTPException, ConnectionError) as cause:
            # A process that exits closes its sockets a little before it can be seen to have ended.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_EXIT_GRACE_S)
            raise ConnectionError(f"function did not respond: {cause!r}") from cause
        finally:
            connection.close()

    def log_tail(self) -> str:
        """The end of the program's log."""
        with self._place.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
            return log.read().decode(errors="replace").strip()

    def stop(self) -> None:
        """Kill the process tree and remove the instance's directory. Idempotent."""
        with self._stopping:
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
            if self._place.root.exists():
                end_strays(self._place.root)  # processes that left the session, or whose parent died
            shutil.rmtree(self._place.root, ignore_errors=True)
            self._spawner.give_back(self._port)

    def _healthy(self, path: str) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=1)
        try:
            connection.request("GET", path)
            return 200 <= connection.getresponse().status < 400
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def end_strays(below: Path) -> int:
    """Kill every process whose LOCALCLOUD_ROOT is `below` or a directory in it. Returns their number.

    They have ended when this returns. The check of the environment protects other programs that reuse a pid.
    """
    ended = 0
    for _ in range(_PASSES_MAX):
        found = sum(_end_stray(entry, below) for entry in Path("/proc").iterdir() if entry.name.isdigit())
        ended += found
        if not found:
            break  # check again: a killed process may have started more
    return ended


def _end_stray(entry: Path, below: Path) -> bool:
    if int(entry.name) == os.getpid():
        return False
    with contextlib.suppress(OSError):  # ended meanwhile, or another user's
        descriptor = os.pidfd_open(int(entry.name))
        try:
            if not _is_rooted(entry, below):
                return False
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            gone = select.poll()
            gone.register(descriptor, select.POLLIN)
            gone.poll(_KILL_LIMIT_S * 1000)
        finally:
            os.close(descriptor)
        return True
    return False


def _is_rooted(entry: Path, below: Path) -> bool:
    prefix = f"{ROOT_VARIABLE}=".encode()
    for word in (entry / "environ").read_bytes().split(b"\0"):
        if word.startswith(prefix):
            return Path(os.fsdecode(word[len(prefix) :])).is_relative_to(below)
    return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
