"""The breaks of `bench.night`: how each is made, how `status` shows it, and how it is ended."""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
from tests.acceptance.stage import BUCKET, SECRET_NAME, Daemon, Stage, command, ended, small, until
from tests.acceptance.test_situations import bucket_of, runtime_of
from tests.foreign.processes import Clock, Disk

_COMMAND: Final = re.compile(r"`syncd ([a-z][^`]*)`|syncd ([a-z][^`;,]*)")
_HOUR_S: Final = 3600
_LOCK: Final = (
    "import sqlite3, sys, time\n"
    "held = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)\n"
    "held.execute('BEGIN IMMEDIATE')\n"
    "print('held', flush=True)\n"
    "time.sleep(600)\n"
)


@dataclass
class Night:
    """A stage whose daemon may end and be started again."""

    stage: Stage
    log: Path
    tool: Any = None  # what the break's surroundings made: a clock, a disk
    daemon: Daemon | None = None
    kept: dict[str, Any] = field(default_factory=dict)  # what a break needs to be ended

    def start(self) -> None:
        """Start the daemon, and wait until it works."""
        before = self._starts()
        with self.log.open("ab") as stream:
            process = subprocess.Popen(command("run"), env=self.stage.env, stdout=stream, stderr=stream)
        self.daemon = Daemon(process, self.log)
        until(lambda: self._starts() > before or process.poll() is not None, "the daemon to start")

    def _starts(self) -> int:
        return self.log.read_text().count("process.started") if self.log.exists() else 0

    def stop(self) -> None:
        """End it, however it is."""
        if self.daemon is not None and self.daemon.process.poll() is None:
            self.daemon.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.daemon.process.wait(20)
        if self.daemon is not None and self.daemon.process.poll() is None:
            self.daemon.process.kill()
            self.daemon.process.wait()

    def restart(self) -> None:
        """As an operator does: stop and start."""
        self.stop()
        self.start()


@contextlib.contextmanager
def _nothing(home: Path) -> Iterator[Any]:
    del home
    yield None


@contextlib.contextmanager
def _clock(home: Path) -> Iterator[Any]:
    yield Clock(home)


@contextlib.contextmanager
def _disk(home: Path) -> Iterator[Any]:
    disk = Disk(home / "stage", 320)
    if not disk.available:
        raise SystemExit("no disk could be mounted: root is needed")
    try:
        yield disk
    finally:
        disk.close()


def run_named(night: Night, names: str, verb: str = "") -> str:
    """Run the first command that a hint names, or the one with this verb, as it stands there."""
    found = [each for pair in _COMMAND.findall(names) for each in pair if each.startswith(verb) and each]
    if not found:
        return "nothing: no command is named"
    words = shlex.split(found[0].strip())
    done = night.stage.run(*words)
    said = f"`syncd {' '.join(words)}`"
    return said if done.code == 0 else f"{said}: exit {done.code}"


def _restored(night: Night, names: str) -> str:
    return run_named(night, names, "restore")


def _wait(night: Night, names: str) -> str:
    del night, names
    return "nothing"


def _status(night: Night) -> str:
    done = night.stage.run("status")
    return done.out + done.err


@dataclass(frozen=True)
class Break:
    """A break, what `status` shows of it, and how it is ended. `otherwise`: what finds it where `status` does not."""

    what: str
    make: Callable[[Night], object]
    shown: str
    resolve: Callable[[Night, str], str] = run_named
    look: Callable[[Night], str] = _status
    around: Callable[[Path], contextlib.AbstractContextManager[Any]] = _nothing
    prepare: Callable[[Night], object] = lambda _night: None
    clear: Callable[[Night], object] = lambda night: night.stage.clear_faults()
    is_over: Callable[[Stage], bool] = lambda stage: stage.run("health").code == 0
    otherwise: str = "nothing"
    shown_max_s: float = 90.0


def _then(said: str, *acts: Callable[[Night], object]) -> Callable[[Night, str], str]:
    """An act of a person."""

    def act(night: Night, names: str) -> str:
        del names
        for each in acts:
            each(night)
        return said

    return act


def _answers(stage: Stage, service: str, resource: str, status: int, code: str) -> None:
    rule = {
        "service": service,
        "resource": resource,
        "times": 0,
        "action": {"kind": "Answer", "status": status, "code": code},
    }
    for endpoint in stage.cloud.endpoints.values():
        httpx.post(f"{endpoint}/_local/faults", json=rule).raise_for_status()


def _unavailable(*services: str) -> Callable[[Night], object]:
    def make(night: Night) -> None:
        for service in services:
            resource = f"{BUCKET}.*" if service == "oss" else f"f-{night.stage.model}.*"
            _answers(night.stage, service, resource, 503, "ServiceUnavailable")

    return make


def _away(place: Callable[[Stage], Path]) -> Callable[[Night], object]:
    return lambda night: place(night.stage).rename(place(night.stage).with_name("away"))


def _back(place: Callable[[Stage], Path]) -> Callable[[Night], object]:
    return lambda night: place(night.stage).with_name("away").rename(place(night.stage))


def _nas_on_a_disk(night: Night) -> None:
    """The NAS of the stage becomes a small file system with the same files."""
    nas = night.stage.nas
    night.stop()
    shutil.copytree(nas, night.stage.home / "nas")
    night.kept["nas"] = Disk(nas, 256)
    shutil.copytree(night.stage.home / "nas", nas, dirs_exist_ok=True)
    night.start()


def _alias_deleted(night: Night) -> None:
    client: Any = runtime_of(night.stage)._client  # noqa: SLF001 -- as a person does in the console
    client.delete_alias(f"f-{night.stage.model}", "prod")


def _killed(night: Night) -> None:
    assert night.daemon is not None
    night.daemon.stop(signal.SIGKILL)


def _started(night: Night, names: str) -> str:
    """The command that `status` or `health` names, in the background."""
    found = night.stage.run("health")
    night.start()
    named = "named by `syncd health`" if "syncd run" in f"{names}{found.out}" else "not named"
    return f"`syncd run` ({named})"


def _wrong_key(night: Night) -> None:
    night.kept["secret"] = night.stage.env[SECRET_NAME]
    night.stage.env[SECRET_NAME] = "not-the-secret-of-this-cloud"
    night.restart()


def _right_key(night: Night) -> None:
    night.stage.env[SECRET_NAME] = night.kept["secret"]
    night.restart()


def _lock(night: Night) -> None:
    holder = subprocess.Popen([sys.executable, "-c", _LOCK, str(night.stage.database)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    night.kept["holder"] = holder


def _unlock(night: Night) -> None:
    holder = night.kept.pop("holder", None)
    if holder is not None:
        holder.kill()
        holder.communicate()


def _read_only(night: Night) -> None:
    home = str(night.stage.home)
    subprocess.run(["mount", "--bind", home, home], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", home], check=True)


def _writable(night: Night) -> None:
    subprocess.run(["umount", "-l", str(night.stage.home)], check=False, capture_output=True)


def _corrupt(night: Night) -> None:
    shutil.copy(night.stage.database, night.stage.home / "whole.db")
    with night.stage.database.open("r+b") as file:
        file.write(b"no database at all" * 4000)


def _set_newer(night: Night) -> None:
    with contextlib.closing(sqlite3.connect(night.stage.database, timeout=30)) as record, record:
        (night.kept["schema"],) = record.execute("SELECT version_num FROM syncd_schema").fetchone()
        record.execute("UPDATE syncd_schema SET version_num = '9999'")


def _set_back(night: Night) -> None:
    if "schema" not in night.kept:
        return
    with contextlib.closing(sqlite3.connect(night.stage.database, timeout=30)) as record, record:
        record.execute("UPDATE syncd_schema SET version_num = ?", (night.kept["schema"],))


def _rebuilt(night: Night, names: str) -> str:
    """What the message of a damaged record says: move it away, then the commands that it names."""
    night.stop()
    for path in night.stage.home.glob("syncd.db*"):
        path.rename(path.with_name(f"away-{path.name}"))
    done = [night.stage.run("db", verb) for verb in ("create", "adopt-world")]
    night.start()
    codes = [each.code for each in done]
    named = "named" if "adopt-world" in names else "not named"
    return f"stop, move the file away, `syncd db create`, `syncd db adopt-world` ({named}), start: exit codes {codes}"


def _alias(to: str | None, expect: str | None) -> Callable[[Night], object]:
    return lambda night: runtime_of(night.stage).flip(f"f-{night.stage.model}", "prod", to, expect)


def _version_deleted(night: Night) -> None:
    """The alias goes to the version before, and the one that was live is deleted."""
    _alias("1", "2")(night)
    function = f"f-{night.stage.model}"
    client: Any = runtime_of(night.stage)._client  # noqa: SLF001 -- `retire` asks whether it is needed; a person does not
    for alias in client.list_aliases(function, _request("ListAliasesRequest")).body.aliases or []:
        if alias.version_id == "2":
            client.delete_alias(function, alias.alias_name)
    client.delete_function_version(function, "2")


def _request(name: str) -> Any:
    from alibabacloud_fc20230330 import models  # noqa: PLC0415 -- slow to import

    return getattr(models, name)()


def _delete_objects(night: Night) -> None:
    bucket = bucket_of(night.stage)
    for found in bucket.list_objects_v2(prefix=f"{night.stage.model}/models/").object_list:
        if found.key.endswith("weights.bin") and "/v2-" in found.key:
            bucket.delete_object(found.key)


def _repaired(night: Night, names: str) -> str:
    del names
    found = night.stage.run("verify", night.stage.model)
    hints = dict.fromkeys(re.findall(r"`?syncd repair [^`;,\n]*`?", found.out))
    return "; ".join([f"`syncd verify m`: exit {found.code}", *(run_named(night, hint) for hint in hints)])


def _approval(night: Night) -> None:
    text = night.stage.config.read_text()
    night.stage.config.write_text(text.replace("[policy]\n", '[policy]\napproval = ["*"]\n'))
    night.restart()
    night.stage.deliver("v3", small("v3"))


def _second(night: Night) -> str:
    done = ended(night.stage.start("run"))
    return f"{done.out}{done.err}"


def _is_verified(stage: Stage) -> bool:
    return stage.run("verify", stage.model).code == 0


def _set_clock(offset_s: int) -> Callable[[Night], object]:
    return lambda night: night.tool.step(offset_s)


BREAKS: Final = (
    Break("the cloud does not answer", _unavailable("oss", "fc"), r"^not healthy: runtimes\.hangzhou",
          _then("it answers again", lambda night: night.stage.clear_faults())),
    Break("the buckets of a region do not answer", _unavailable("oss"), r"^not healthy: targets\.hangzhou",
          _then("they answer again", lambda night: night.stage.clear_faults())),
    Break("the NAS is gone", _away(lambda stage: stage.nas), r"^not healthy: targets\.shanghai",
          _then("it is mounted", _back(lambda stage: stage.nas))),
    Break("the NAS is full", lambda night: night.kept["nas"].fill(), r"^not healthy: targets\.shanghai",
          _then("space is freed", lambda night: night.kept["nas"].free()), prepare=_nas_on_a_disk,
          clear=lambda night: night.kept["nas"].close()),
    Break("the record's disk is full", lambda night: night.tool.fill(), r"^not healthy: record\.disk",
          _then("space is freed", lambda night: night.tool.free()), around=_disk),
    Break("the access key is wrong", _wrong_key, r"^not healthy: credentials\.local",
          _then("the right key, and a restart", _right_key)),
    Break("the record is locked", _lock, r"locked|none is running|has not reported",
          _then("the other program ends", _unlock), clear=_unlock),
    Break("the record is read-only", _read_only, r"read-only", _then("it is mounted to be written", _writable),
          clear=_writable),
    Break("the record is corrupt", _corrupt, r"malformed|not a database|corrupt|damaged", _rebuilt),
    Break("the record is gone", _away(lambda stage: stage.database), r"there is no record|does not exist|mounted",
          _then("it is back, and a restart", _back(lambda stage: stage.database), Night.restart)),
    Break("a newer syncd has upgraded the record", _set_newer, r"schema",
          _then("the newer syncd is installed", _set_back), clear=_set_back),
    Break("the machine's clock is an hour ahead", _set_clock(_HOUR_S), r"^not healthy: .*(clock|TimeTooSkewed)",
          _then("the clock is set", _set_clock(0)), around=_clock),
    Break("the daemon is killed", _killed, r"^daemon: none is running; .* was killed or cut off", _started),
    Break("a second daemon is started", Night.restart, r"another|already", _wait, look=_second),
    Break("the registry is gone", _away(lambda stage: stage.registry), r"^not healthy: registries\.models",
          _then("it is mounted", _back(lambda stage: stage.registry))),
    Break("an alias was moved", _alias("1", "2"), r"^drifted: cn-hangzhou", _restored),
    Break("an alias was deleted", _alias_deleted, r"^drifted: cn-hangzhou", _restored),
    Break("the live function version was deleted", _version_deleted, r"^drifted: cn-hangzhou", _restored),
    Break("objects of the live version were deleted", _delete_objects, r"weights\.bin", _repaired, is_over=_is_verified,
          otherwise="`syncd verify` finds it", shown_max_s=30.0),
    Break("a release waits for a person", _approval, r"^in flight: .*approv"),
)  # fmt: skip
