"""Instance pool: one process per function and version, started by the first call."""

import json
import secrets
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from syncd.localcloud.fc.errors import FcError, no_version, not_started
from syncd.localcloud.fc.functions.operations import ResolvedVersion
from syncd.localcloud.fc.functions.validation import Json, is_container
from syncd.localcloud.fc.images.image_pull import Pulled
from syncd.localcloud.fc.images.image_table import ImageTable
from syncd.localcloud.fc.instances.mounts import Storage, mount_all
from syncd.localcloud.fc.instances.process import FunctionProcess, InstancePaths, Spawner, end_strays


class InitializationFailedError(Exception):
    """The function's initializer failed; the caller gets a 200 with the error type."""


@dataclass(frozen=True, slots=True)
class InstanceContext:
    """Settings and dependencies of all instances of a region."""

    account_id: str
    root: Path
    storage: Storage
    images: ImageTable
    start_limit_s: float


@dataclass(slots=True)
class Instance:
    """A process and its version. `users` counts calls in progress; when `retired`, the last call ends the process."""

    instance_id: str
    function: str
    resolved: ResolvedVersion
    process: FunctionProcess
    users: int = 0
    retired: bool = False


@dataclass(slots=True)
class _Slot:
    starting: threading.Lock = field(default_factory=threading.Lock)
    instance: Instance | None = None


class InstancePool:
    """All instances of a region. Thread-safe; a starting instance blocks only calls of the same version."""

    def __init__(self, surroundings: InstanceContext) -> None:
        self._context = surroundings
        self._spawner = Spawner()
        self._guard = threading.Lock()
        self._slots: dict[tuple[str, str], _Slot] = {}
        self._live: dict[str, Instance] = {}
        self._closed = False

    @contextmanager
    def lease(self, function: str, resolved: ResolvedVersion) -> Iterator[Instance]:
        """Lease an instance of the version, started if needed. It does not end during the lease.

        Raises:
            FcError: The instance cannot start.
            InitializationFailedError: The instance started and its initializer failed.
        """
        instance = self._entered(function, resolved)
        try:
            yield instance
        finally:
            with self._guard:
                instance.users -= 1
                over = instance.retired and instance.users == 0
            if over:
                self._end(instance)

    def running(self, function: str) -> Sequence[Instance]:
        """The live instances of a function, oldest first."""
        with self._guard:
            found = [i for i in self._live.values() if i.function == function]
        return sorted((i for i in found if i.process.alive), key=lambda i: i.process.created_s)

    def retire(self, function: str, version_id: str | None = None) -> None:
        """Drain a version's instance, or all instances of a function: each ends after its last call."""
        with self._guard:
            keys = [k for k in self._slots if k[0] == function and version_id in {None, k[1]}]
            instances = [i for k in keys if (i := self._slots.pop(k).instance) is not None]
        for instance in instances:
            self._retire(instance)

    def close(self) -> None:
        """Kill every process, with calls in progress, and start no more."""
        with self._guard:
            self._closed = True
            live = list(self._live.values())
        for instance in live:
            instance.process.stop()
        self._spawner.close()

    def _entered(self, function: str, resolved: ResolvedVersion) -> Instance:
        key = (function, resolved.version_id)
        with self._guard:
            slot = self._slots.setdefault(key, _Slot())
        with slot.starting:
            found = slot.instance
            if found is None or found.resolved != resolved or not found.process.alive:
                slot.instance = None
                if found is not None:
                    self._retire(found)
                slot.instance = found = self._start(function, resolved)
            with self._guard:
                kept = self._slots.get(key) is slot
                found.users += kept
        if not kept:  # the version was deleted during the start
            self._retire(found)
            raise no_version(function, resolved.version_id)
        return found

    def _start(self, function: str, resolved: ResolvedVersion) -> Instance:
        config, context = resolved.running.config, self._context
        pulled = _pulled(resolved, context.images)
        argv = _command(config, context.images, pulled)
        instance_id = f"c-{secrets.token_hex(4)}-{secrets.token_hex(6)}"
        place = InstancePaths(
            context.root / "instances" / instance_id,
            context.root / "logs" / f"{function}.{resolved.version_id}.log",
        )
        for directory in (place.root, place.log.parent):
            directory.mkdir(parents=True, exist_ok=True)
        self._mount(config, place, pulled)
        variables = {**(pulled.variables if pulled else {}), **self._variables(function, resolved, instance_id)}
        process = FunctionProcess(self._spawner, argv, variables, place)
        instance = Instance(instance_id, function, resolved, process)
        with self._guard:
            self._live[instance_id] = instance
            closed = self._closed
        if closed:
            self._end(instance)
            raise FcError(503, "ServiceUnavailable", "the region is stopping")
        ready = False
        try:
            health = config["customContainerConfig"].get("healthCheckConfig") or {}
            process.wait_ready(context.start_limit_s, health.get("httpGetUrl") or "")
            _initialize(process, config, variables)
            ready = True
        finally:
            if not ready:
                self._end(instance)
        return instance

    def _mount(self, config: Json, place: InstancePaths, pulled: Pulled | None) -> None:
        try:
            mount_all(config, place.root, self._context.storage)
            if pulled is not None:
                pulled.link_into(place.root)
        except FcError:
            shutil.rmtree(place.root, ignore_errors=True)
            raise
        except OSError as cause:
            shutil.rmtree(place.root, ignore_errors=True)
            raise not_started(f"failed to mount: {cause.strerror}: {cause.filename}") from cause

    def _variables(self, function: str, resolved: ResolvedVersion, instance_id: str) -> Mapping[str, str]:
        config = resolved.running.config
        return {
            **(config.get("environmentVariables") or {}),
            "FC_FUNCTION_NAME": function,
            "FC_FUNCTION_VERSION": resolved.version_id,
            "FC_VER_ID": resolved.version_id,
            "FC_FUNCTION_HANDLER": config["handler"],
            "FC_FUNCTION_MEMORY_SIZE": str(config["memorySize"]),
            "FC_REGION": self._context.storage.region,
            "FC_ACCOUNT_ID": self._context.account_id,
            "FC_INSTANCE_ID": instance_id,
        }

    def _retire(self, instance: Instance) -> None:
        with self._guard:
            instance.retired = True
            over = instance.users == 0
        if over:
            self._end(instance)

    def _end(self, instance: Instance) -> None:
        instance.process.stop()
        with self._guard:
            self._live.pop(instance.instance_id, None)


def clear_strays(root: Path) -> int:
    """Kill processes that an earlier server left running below its root. Returns their number."""
    ended = end_strays(root / "instances")
    shutil.rmtree(root / "instances", ignore_errors=True)
    return ended


def _pulled(resolved: ResolvedVersion, images: ImageTable) -> Pulled | None:
    if not is_container(resolved.running.config):
        return None
    return images.pull(resolved.running.config["customContainerConfig"]["image"], resolved.running.image)


def _command(config: Json, images: ImageTable, pulled: Pulled | None) -> Sequence[str]:
    if not is_container(config):
        raise not_started(f"runtime '{config['runtime']}' is not supported locally, only custom-container is")
    container = config["customContainerConfig"]
    own = [*(container.get("entrypoint") or []), *(container.get("command") or [])]
    if own:
        return own
    if pulled is not None and pulled.argv:
        return pulled.argv
    image = images.find(container["image"])
    if image is None or not image.argv:
        raise not_started(f"image '{container['image']}' does not exist or has no command")
    return image.argv


def _initialize(process: FunctionProcess, config: Json, variables: Mapping[str, str]) -> None:
    hook = (config.get("instanceLifecycleConfig") or {}).get("initializer") or {}
    if not (hook.get("handler") or hook.get("command")):
        return
    headers = {"x-fc-control-path": "/initialize", "x-fc-function-name": variables["FC_FUNCTION_NAME"]}
    try:
        answered = process.post("/initialize", headers, b"", float(hook.get("timeout") or 3))
    except TimeoutError as cause:
        raise InitializationFailedError(_error_body("initializer timed out")) from cause
    except ConnectionError as cause:
        raise InitializationFailedError(_error_body(f"initializer did not answer: {cause}")) from cause
    if not 200 <= answered.status < 300:
        text = answered.body.decode(errors="replace")
        raise InitializationFailedError(_error_body(f"initializer answered {answered.status}: {text}"))


def _error_body(message: str) -> str:
    return json.dumps({"errorMessage": message, "errorType": "InitializationError"})
