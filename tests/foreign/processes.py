"""Processes of a world: started, stopped, stepped in time, and never left behind."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

REPOSITORY: Final = Path(__file__).resolve().parents[2]


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def end_on_sigterm() -> None:
    """SIGTERM ends the program as an exception does, so that processes and mounts are cleared away."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


class Process:
    """A process that ends with the tests: its standard input is a pipe of ours."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        self._log = log.open("ab")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
            cwd=REPOSITORY,
            start_new_session=True,
        )

    def first_line(self) -> dict[str, Any]:
        """The JSON that the process prints when it is ready."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.kill()
            raise RuntimeError(f"the process ended with {self._process.returncode}: {self._log.name}")
        return dict(json.loads(line))

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL to the process and to what it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._close()

    def stop(self, timeout_s: float = 60.0) -> int:
        """SIGTERM, and the exit code; SIGKILL after the timeout."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return -signal.SIGKILL
        finally:
            self.kill()

    def _close(self) -> None:
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._log.close()


def module(name: str, *arguments: str) -> list[str]:
    """The command that runs a module of the tests."""
    return [sys.executable, "-m", name, *arguments]


class Clock:
    """The wall clock that syncd's processes see. A step moves it for those that run, too; monotonic time stays true."""

    def __init__(self, root: Path) -> None:
        self._offset = root / "clock"
        self._library = root / "stepped_clock.so"
        self.available = False
        self._offset.write_bytes(struct.pack("=q", 0))
        if compiler := shutil.which("cc"):
            source = str(Path(__file__).with_name("stepped_clock.c"))
            command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(self._library), source]
            self.available = subprocess.run(command, capture_output=True, check=False).returncode == 0

    def step(self, seconds: int) -> None:
        """Move the clock to so many seconds from the true time. Readers map the file, so it is written in place."""
        with self._offset.open("r+b") as file:
            file.write(struct.pack("=q", seconds))

    def environment(self) -> dict[str, str]:
        if not self.available:
            return {}
        return {"LD_PRELOAD": str(self._library), "STEPPED_CLOCK": str(self._offset)}


class Disk:
    """A small file system that can be filled and made read-only; without the right to mount, a plain directory."""

    def __init__(self, path: Path, megabytes: int) -> None:
        self.path: Final = path
        path.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0777", "tmpfs", str(path)]
        mounted = shutil.which("mount") and subprocess.run(command, capture_output=True, check=False).returncode == 0
        self.available: Final = bool(mounted)

    def set_read_only(self, *, read_only: bool) -> bool:
        """Whether it is so now: a file that is open for writing keeps a disk writable."""
        mode = "ro" if read_only else "rw"
        command = ["mount", "-o", f"remount,{mode}", str(self.path)]
        return self.available and subprocess.run(command, capture_output=True, check=False).returncode == 0

    @property
    def _ballast(self) -> Path:
        return self.path / "ballast"

    def fill(self) -> None:
        """Leave no room."""
        if not self.available:
            return
        with contextlib.suppress(OSError), self._ballast.open("wb") as file:
            while True:
                file.write(bytes(1 << 16))
                file.flush()

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        if self.available:
            subprocess.run(["umount", "-l", str(self.path)], capture_output=True, check=False)


class PostgreSql:
    """A server of its own on loopback, which can crash."""

    def __init__(self, root: Path) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
            import pgserver

        self._bin = Path(pgserver.__file__).parent / "pginstall" / "bin"
        self._data = root / "postgresql"
        self._log = root / "postgresql.log"
        self._port = free_port()
        self._user = _other_user()
        self._data.mkdir(parents=True)
        self._log.touch()
        if self._user:
            for path in (self._data, self._log):
                shutil.chown(path, self._user)
        self._run("initdb", "-D", str(self._data), "-U", "syncd", "-A", "trust", "--no-sync", "-E", "UTF8")
        self.start()
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self._port), "-U", "syncd", "syncd")

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://syncd@127.0.0.1:{self._port}/syncd"

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._bin / program), *arguments],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=self._user,
            cwd="/",
            timeout=60,
        )

    def start(self) -> None:
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        self._run("pg_ctl", "start", "-w", "-D", str(self._data), "-l", str(self._log), "-o", options)

    def crash(self) -> None:
        """End all its processes at once, without a checkpoint; the next start recovers."""
        self._run("pg_ctl", "stop", "-m", "immediate", "-D", str(self._data))

    def close(self) -> None:
        with contextlib.suppress(subprocess.SubprocessError):
            self.crash()


def _other_user() -> str | None:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    import pwd

    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in known)


class Closing:
    """Closes what was opened, last first, whatever happens."""

    def __init__(self) -> None:
        self.stack: Final = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.stack.close()
