"""Instances: the custom container's command as a process, with mounts as symbolic links below a root of its own."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.foreign.cloud.documents import Document
from tests.foreign.cloud.functions import ACCOUNT, FcError
from tests.foreign.cloud.web import request_id

# Each is an interpreter of some 10 MB; the one that was used longest ago makes room.
INSTANCES_MAX: Final = 6
START_S: Final = 30.0


@dataclass
class Instance:
    """A process that listens on `port`, for one configuration of one function version."""

    process: subprocess.Popen[bytes]
    port: int
    root: Path
    configuration: Document
    id: str


@dataclass(frozen=True)
class Mounts:
    """How a function's mounts become directories of this machine."""

    oss: Callable[[str, str], Path]
    nas: Path


class Instances:
    """Starts instances when they are asked, keeps them warm, and ends them."""

    def __init__(self, region: str, root: Path, mounts: Mounts) -> None:
        self._region = region
        self._root = root
        self._mounts = mounts
        self._lock = threading.Lock()
        self._warm: OrderedDict[tuple[str, str], Instance] = OrderedDict()

    def invoke(self, function: str, version: str, configuration: Document, body: bytes) -> tuple[int, bytes, str]:
        """The container's status and body, and the instance's id.

        Raises:
            FcError: The instance cannot be started, or did not answer.
        """
        instance = self._instance(function, version, configuration)
        connection = http.client.HTTPConnection("127.0.0.1", instance.port, timeout=float(configuration["timeout"]))
        headers = {
            "Content-Type": "application/octet-stream",
            "x-fc-function-name": function,
            "x-fc-version-id": version,
            "x-fc-region": self._region,
            "x-fc-account-id": ACCOUNT,
            "x-fc-request-id": request_id(),
            "x-fc-control-path": "/invoke",
        }
        try:
            connection.request("POST", "/invoke", body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(), instance.id
        except OSError as error:
            self.stop(function, version)
            raise FcError(502, "BadResponse", f"the instance did not answer: {error}") from error
        finally:
            connection.close()

    def _instance(self, function: str, version: str, configuration: Document) -> Instance:
        with self._lock:
            found = self._warm.get((function, version))
            if found and found.process.poll() is None and found.configuration == configuration:
                self._warm.move_to_end((function, version))
                return found
            if found:
                self._end(self._warm.pop((function, version)))
            while len(self._warm) >= INSTANCES_MAX:
                self._end(self._warm.popitem(last=False)[1])
            started = self._start(function, version, configuration)
            self._warm[function, version] = started
            return started

    def _start(self, function: str, version: str, configuration: Document) -> Instance:
        identity = request_id()
        root = self._root / identity
        root.mkdir(parents=True)
        self._mount(root, configuration)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        container = configuration["customContainerConfig"]
        command = [*(container.get("entrypoint") or []), *(container.get("command") or [])]
        if not command:
            raise FcError(412, "FunctionNotStarted", "the image has no command that could be played")
        variables = {
            **{name: value for name, value in os.environ.items() if name in {"PATH", "LANG"}},
            **(configuration.get("environmentVariables") or {}),
            "FC_FUNCTION_NAME": function,
            "FC_FUNCTION_VERSION": version,
            "FC_REGION": self._region,
            "FC_INSTANCE_ID": identity,
            "FC_CUSTOM_LISTEN_PORT": str(port),
            "INSTANCE_ROOT": str(root),
        }
        # The process ends at the end of this pipe, so it does not outlive the region.
        process = subprocess.Popen(command, stdin=subprocess.PIPE, env=variables, cwd=root, start_new_session=True)
        instance = Instance(process, port, root, configuration, identity)
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return instance
            time.sleep(0.01)
        self._end(instance)
        raise FcError(412, "FunctionNotStarted", f"Function instance health check failed on port {port}")

    def _mount(self, root: Path, configuration: Document) -> None:
        for point in (configuration.get("ossMountConfig") or {}).get("mountPoints") or []:
            try:
                place = self._mounts.oss(point["bucketName"], point.get("bucketPath") or "/")
            except Exception as error:
                raise FcError(412, "FunctionNotStarted", f"mount of {point['bucketName']} failed: {error}") from error
            _link(root, point["mountDir"], place)
        for point in (configuration.get("nasConfig") or {}).get("mountPoints") or []:
            server, _, path = point["serverAddr"].partition(":")
            place = self._mounts.nas / server / path.strip("/")
            # Function Compute makes a directory that is missing, so a wrong path is an empty mount.
            place.mkdir(parents=True, exist_ok=True)
            _link(root, point["mountDir"], place)

    def stop(self, function: str, version: str | None = None) -> None:
        """End the instances of a function version, or of all of a function's."""
        with self._lock:
            for key in [key for key in self._warm if key[0] == function and version in {None, key[1]}]:
                self._end(self._warm.pop(key))

    def close(self) -> None:
        with self._lock:
            while self._warm:
                self._end(self._warm.popitem()[1])

    @staticmethod
    def _end(instance: Instance) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(instance.process.pid, signal.SIGKILL)
        instance.process.wait()
        if instance.process.stdin:
            instance.process.stdin.close()
        shutil.rmtree(instance.root, ignore_errors=True)


def _link(root: Path, directory: str, place: Path) -> None:
    link = root / directory.strip("/")
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(place)
