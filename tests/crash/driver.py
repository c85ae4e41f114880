"""A server of forks: imports syncd once, and for each job forks a process that works until its releases end.

One job is one line of JSON, and so is its answer. The child may be killed at an effect; the parent lives on.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import syncd.engine.dbos
import syncd.runtime.fc.runtime
import syncd.store.oss.store  # noqa: F401 -- so that no fork has to import it
from sqlalchemy import Connection
from syncd import logs
from syncd.config import Config, load
from syncd.daemon.process import Process
from syncd.daemon.settings import settings_of
from syncd.engine import lock
from syncd.engine.dbos import DbosEngine
from syncd.errors import Conflict
from syncd.plan.retention import RetentionPolicy, RetentionRule
from syncd.reconcile.context import Context, World
from syncd.reconcile.drift import resolve
from syncd.reconcile.gc import retention, retire
from syncd.reconcile.requests import operations, rollbacks
from syncd.state.db import rows
from syncd.state.releases import releases, rollouts
from syncd.state.state import State
from syncd.targets.image import ImageTarget
from syncd.transfer import CopySettings
from syncd.wiring import context_of

from tests.crash.effects import Effects, watch
from tests.support.fleet import MODEL, PART_BYTES

LIMIT_S: Final = 90  # a child that is still at work by then waits for ever: it is ended, and that is a finding


@dataclass(frozen=True)
class Job:
    """What one process is to do, and where it is to die."""

    config: str
    environment: dict[str, str]
    version: str  # to publish; "" to roll back
    log: str
    crash: str = ""
    errors: str = ""  # the file for the child's log
    cancels: bool = False  # in the first pause of a release in steps
    does: str = ""  # "restore", "gc", or "retire" (then `version` is what is retired): no release is asked for
    ahead_s: float = 0.0  # how far its clock is before the machine's: what an earlier life left has had its time


@dataclass(frozen=True)
class Ended:
    """How it went. `killed`: at its effect; else `code` is 0 for releases that ended."""

    killed: bool
    code: int
    seconds: float


class Driver:
    """The parent, as a test sees it."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-m", "tests.crash.driver"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def run(self, job: Job) -> Ended:
        """Have one process do it, to its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(dataclasses.asdict(job)) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return Ended(**answer)

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


@contextmanager
def driving() -> Iterator[Driver]:
    """A driver for as long as the block lasts."""
    driver = Driver()
    try:
        yield driver
    finally:
        driver.close()


def serve() -> None:
    """Fork for each line of the input until it ends."""
    assert threading.active_count() == 1, "a fork takes one thread along only"
    gc.freeze()
    gc.disable()  # a child does not live long enough to need it
    for line in sys.stdin:
        job = Job(**json.loads(line))
        started = time.monotonic()
        child = os.fork()
        if child == 0:
            os._exit(_be_the_child(job))
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        ended = Ended(code == -signal.SIGKILL, code, round(time.monotonic() - started, 3))
        sys.stdout.write(json.dumps(dataclasses.asdict(ended)) + "\n")
        sys.stdout.flush()


def _be_the_child(job: Job) -> int:
    signal.alarm(LIMIT_S)
    if job.errors:
        os.dup2(os.open(job.errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    logs.configure(level="INFO" if job.errors else "CRITICAL", json=True)
    try:
        _work(job)
    except BaseException:  # noqa: BLE001 -- a child of a fork must not return into its parent's loop
        traceback.print_exc()
        return 70
    return 0


def _work(job: Job) -> None:
    config = load(Path(job.config), job.environment)
    url = config.state.connect_url.render_as_string(hide_password=False)
    with lock.hold(url):
        state = State(url, now=lambda conn: rows.now(conn) + timedelta(seconds=job.ahead_s))
        context = small_rooms(config, state)
        watch(context, Effects(Path(job.log), job.crash))
        if job.does:
            _do(context, job)
            return
        _wish(context, job.version)
        Process(context, settings_of(config, polls=False), sole=True).run(until=lambda: _all_ended(context, job))
        state.close()


def small_rooms(config: Config, state: State) -> Context:
    """The real rooms, with parts that suit small files and an engine that looks often."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the SDKs' own
        context = context_of(config, state)
    url = config.state.connect_url.render_as_string(hide_password=False)
    transfer = CopySettings(buffer_bytes=16 << 20, part_bytes=PART_BYTES, parts_in_flight=2)
    images = {name: _in_small_chunks(target) for name, target in context.images.items()}
    return dataclasses.replace(context, transfer=transfer, engine=DbosEngine(url, poll_s=0.1), images=images)


def _in_small_chunks(target: ImageTarget) -> ImageTarget:
    bake = dataclasses.replace(target.settings.bake, chunk_bytes=PART_BYTES, alone_bytes=PART_BYTES)
    settings = dataclasses.replace(target.settings, bake=bake)
    return ImageTarget(target.name, target._repository, target._base, settings)


def _do(context: Context, job: Job) -> None:
    """What a daemon does with what an earlier life left, and then what the command does, which repeats nothing."""
    world: World = context
    word = resolve.Justification("driver", "crash test")
    if job.does == "retire":
        retire.resume(world, context.draining)
        retire.retire(world, MODEL, job.version, word)
        return
    if job.does == "gc":
        world = dataclasses.replace(context, retention=RetentionPolicy((RetentionRule(("*",), keep=1),), grace_s=0.0))
        for _ in range(2):  # the first pass marks, the second deletes
            retention.run(world, [MODEL], "driver", context.draining)
        return
    for region in context.runtimes:
        resolve.resume(world, region)
    for binding in context.topology.bindings.values():
        resolve.restore(world, binding, word)


def _wish(context: Context, version: str) -> None:
    """Ask as `syncd publish` and `syncd rollback` do, unless an earlier life of this process did."""
    requester = _wisher(context)
    with context.state.read() as conn:
        latest = releases.latest(conn, MODEL)
    if version and (latest is None or latest.ref != version):
        operations.publish(requester, MODEL, version)
    elif not version and (latest is None or not latest.rollback):
        rollbacks.rollback(requester, MODEL, "crash test")


def _all_ended(context: Context, job: Job) -> bool:
    with context.state.read() as conn:
        unfinished = releases.unfinished(conn)
        resting = [release.id for release in unfinished if _is_resting(conn, release.id)]
    for release_id in resting if job.cancels else ():
        with suppress(Conflict):  # it is going back already
            operations.cancel(_wisher(context), release_id, "crash test")
    return not unfinished


def _is_resting(conn: Connection, release_id: str) -> bool:
    rollout = rollouts.find(conn, release_id)
    return rollout is not None and rollout.pause is not None


def _wisher(context: Context) -> operations.Requester:
    return operations.Requester(context, "driver")


if __name__ == "__main__":
    serve()
