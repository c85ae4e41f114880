"""Engine on DBOS Transact, in the record's own database: attempts are rows, so they survive the process.

Nothing else in syncd imports dbos. DBOS keeps one instance in a process, so one `DbosEngine` can serve at a time;
any number can submit. What a killed process had claimed is never run again by DBOS, because each start has a new
executor id: the step's lease notices, and the record hands over the next attempt.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

import sqlalchemy as sa
import structlog
from dbos import (
    DBOS,
    DBOSClient,
    DBOSConfig,
    DBOSPortableJSONSerializer,
    EnqueueOptions,
    Queue,
    WorkflowStatus,
    error,
)

# What DBOS's own poll of a queue calls; it is pinned by the lock files, and tests/conformance holds it.
from dbos._core import WorkflowHandleFuture, execute_dequeued_workflow
from dbos._dbos import _get_dbos_instance
from dbos._sys_db import WorkflowStatusInternal
from dbos._utils import GlobalParams

from syncd.engine.base import ExecutionStatus, RunStep
from syncd.errors import Conflict, Invalid, Unavailable
from syncd.state.db.url import parse, sqlite_file
from syncd.state.state import UPGRADE_HINT, translate_errors

_APPLICATION: Final = "syncd"
_APPLICATION_VERSION: Final = "1"  # a constant: DBOS runs no attempt that another version submitted
_WORKFLOW: Final = "syncd.step"
POLL_S: Final = 15.0  # a safety: `wake` says when there is something
_FAILED_S: Final = 0.5  # before a claim that failed is repeated
_STOP_S: Final = 10.0  # for a claim under way to end
_DRAIN_POLL_S: Final = 0.02
_POOL_SIZE: Final = 4
_FORGET_AT_ONCE: Final = 500
_SQLITE_MIN: Final = (3, 42)

_TAKEN: Final = "PENDING"  # DBOS's status for claimed by an executor
_STATUSES: Final = {
    "ENQUEUED": ExecutionStatus.WAITING,
    "DELAYED": ExecutionStatus.WAITING,
    _TAKEN: ExecutionStatus.RUNNING,
}
_ENDED: Final = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]

# DBOS adds a handler of its own to its logger unless there is one.
log = structlog.get_logger("syncd.engine")
_log: Final = logging.getLogger("dbos")
_log.addHandler(logging.NullHandler())


class _Worker:
    """The engine that serves in this process, and its step function: DBOS itself is one for the whole process."""

    def __init__(self) -> None:
        self.lock: Final = threading.RLock()
        self.engine: DbosEngine | None = None
        self.run: RunStep | None = None


_serving: Final = _Worker()


@DBOS.workflow(name=_WORKFLOW)
def _run_step(step_id: str, attempt: int) -> None:
    run = _serving.run
    if run is not None:  # None: claimed while stopping; it ends here, and the record submits the next attempt
        run(step_id, attempt)


class DbosEngine:
    """`engine.base.Engine` on the record's database. A forked child creates its own."""

    def __init__(self, url: str, *, poll_s: float = POLL_S) -> None:
        """Opens nothing yet. A free slot sees a new attempt at `wake`, and within `poll_s` seconds without it.

        Raises:
            Invalid: The URL is not one of a SQLite file or a PostgreSQL database.
        """
        self._url: Final = parse(url)
        self._poll_s: Final = poll_s
        self._executor_id: Final = f"{_APPLICATION}-{uuid.uuid4().hex}"
        self._woken: Final = threading.Event()
        self._dispatcher: Dispatcher | None = None
        self._client: Final = DBOSClient(
            system_database_url=_written(self._url),
            serializer=DBOSPortableJSONSerializer(),
            system_database_pool_size=_POOL_SIZE,
            application_name=_APPLICATION,
            lazy=True,
            retry_connection_errors=False,
        )

    def submit(self, conn: sa.Connection, step_id: str, attempt: int, queue: str, priority: int) -> None:
        """Queue an attempt in the caller's transaction, on the record's own database."""
        options: EnqueueOptions = {
            "workflow_name": _WORKFLOW,
            "queue_name": queue,
            "workflow_id": _workflow_id(step_id, attempt),
            "app_version": _APPLICATION_VERSION,
            "priority": priority + 1,  # DBOS counts from 1
        }
        self._client.enqueue_in_transaction(conn, options, step_id, attempt)

    def wake(self) -> None:
        """Look for new attempts now."""
        self._woken.set()

    def cancel(self, step_id: str, attempt: int) -> None:
        """Remove an attempt from its queue. A claimed one counts as ended from now on, and continues to run."""
        with self._translated():
            self._client.cancel_workflows([_workflow_id(step_id, attempt)])

    def status(self, step_id: str, attempt: int) -> ExecutionStatus:
        """The status of an attempt. RUNNING means claimed: its worker may have died since."""
        found = self._list([_workflow_id(step_id, attempt)])
        return _STATUSES.get(found[0].status, ExecutionStatus.ENDED) if found else ExecutionStatus.MISSING

    def serve(self, slots: Mapping[str, int], run: RunStep) -> None:
        """Start to run attempts.

        On SQLite the caller is the only process that serves (`engine.lock`): what others had claimed is ended here.

        Raises:
            Conflict: An engine serves in this process already.
            Invalid: The engine's tables are missing or older, or this SQLite is too old for this Python.
            Unavailable: The database cannot be reached.
        """
        check_sqlite(self._url)
        with _serving.lock:
            if _serving.engine is not None:
                raise Conflict("an engine serves in this process already")
            with self._translated():
                self._prepare(slots)
                _serving.engine, _serving.run = self, run
                try:
                    self._launch(slots)
                except BaseException:
                    self._leave()
                    raise

    def stop(self, grace_s: float) -> None:
        """Start no more, wait up to `grace_s` for running ones. Those that still run are ended for the engine."""
        with _serving.lock:
            if _serving.engine is not self:
                return
            if self._dispatcher is not None:
                self._dispatcher.stop()
            with contextlib.suppress(Unavailable):
                self._drain(time.monotonic() + grace_s)
            self._leave()
            with contextlib.suppress(Unavailable):
                self._end(self._claimed([self._executor_id]))

    def forget(self, older_than: datetime) -> int:
        """Delete attempts that ended before `older_than` and return how many."""
        dropped = 0
        while True:
            with self._translated():
                old = self._client.list_workflows(
                    status=_ENDED,
                    completed_before=older_than.isoformat(),
                    limit=_FORGET_AT_ONCE,
                    load_input=False,
                    load_output=False,
                )
                if not old:
                    return dropped
                self._client.delete_workflows([workflow.workflow_id for workflow in old])
            dropped += len(old)

    def close(self) -> None:
        """Close idle connections; nothing can be submitted after that. Repeating it is success."""
        self._client.destroy()

    def _prepare(self, slots: Mapping[str, int]) -> None:
        for queue, slot_count in slots.items():
            self._client.register_queue(
                queue,
                worker_concurrency=slot_count,
                polling_interval_sec=max(self._poll_s, 1.0),
                application_name=_APPLICATION,
            )
        if sqlite_file(self._url) is not None:
            self._end(self._claimed(None))

    def _launch(self, slots: Mapping[str, int]) -> None:
        _keep_logger()
        DBOS(config=self._config(slots))
        DBOS.listen_queues([])
        DBOS.launch()
        _stop_polling()
        self._dispatcher = Dispatcher(slots, self._woken, self._poll_s)
        self._dispatcher.start()

    def _config(self, slots: Mapping[str, int]) -> DBOSConfig:
        return {
            "name": _APPLICATION,
            "system_database_url": _written(self._url),
            "sys_db_pool_size": _POOL_SIZE,
            "application_version": _APPLICATION_VERSION,
            "executor_id": self._executor_id,
            "serializer": DBOSPortableJSONSerializer(),
            "use_listen_notify": False,  # no part of syncd waits for DBOS's events: one thread and one connection less
            "notification_listener_polling_interval_sec": 0.5,  # for a quick stop: it has nothing to poll for
            "run_migrations": False,
            "enable_otlp": False,
            "log_level": "WARNING",
            "max_executor_threads": sum(slots.values()) + 2,  # DBOS runs its own recovery in one of them
        }

    def _drain(self, deadline: float) -> None:
        while self._claimed([self._executor_id]) and time.monotonic() < deadline:
            time.sleep(_DRAIN_POLL_S)

    def _leave(self) -> None:
        if self._dispatcher is not None:
            self._dispatcher.stop()
            self._dispatcher = None
        DBOS.destroy()
        _serving.engine = _serving.run = None

    def _claimed(self, executors: list[str] | None) -> list[str]:
        with self._translated():
            found = self._client.list_workflows(
                status=_TAKEN, executor_id=executors, load_input=False, load_output=False
            )
        return [workflow.workflow_id for workflow in found]

    def _end(self, workflow_ids: list[str]) -> None:
        if workflow_ids:
            with self._translated():
                self._client.cancel_workflows(workflow_ids)

    def _list(self, workflow_ids: list[str]) -> list[WorkflowStatus]:
        with self._translated():
            return self._client.list_workflows(workflow_ids=workflow_ids, load_input=False, load_output=False)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        with translate_errors(self._url), _dbos_errors(self._url):
            yield


class Dispatcher:
    """Claims attempts for the free slots of each queue and starts them, when it is woken.

    DBOS polls each queue by itself, with eight statements a second and core at rest, and cannot be woken. So it listens
    to no queue here, and this thread does what its poll does, with the same claim.
    """

    def __init__(self, slots: Mapping[str, int], woken: threading.Event, poll_s: float) -> None:
        self._slots: Final = dict(slots)
        self._woken: Final = woken
        self._poll_s: Final = poll_s
        self._stopped: Final = threading.Event()
        self._claimed: Final = dict.fromkeys(slots, 0)  # begun and not ended, by queue
        self._settings: Final[dict[str, Queue]] = {}
        self._lock: Final = threading.Lock()
        self._thread: Final = threading.Thread(target=self._work, name="dispatch", daemon=True)

    def start(self) -> None:
        """Start to claim."""
        self._woken.set()
        self._thread.start()

    def stop(self) -> None:
        """Claim no more. Repeating it is success."""
        self._stopped.set()
        self._woken.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(_STOP_S)

    def _work(self) -> None:
        wait_s = self._poll_s
        while not self._stopped.is_set():
            self._woken.wait(wait_s)
            self._woken.clear()
            wait_s = self._poll_s
            for queue in self._slots:
                if self._stopped.is_set():
                    return
                try:
                    self._claim(queue)
                except Exception as unreachable:  # noqa: BLE001 -- a loop top: the next look claims what this did not
                    log.warning(
                        "queue.unread",
                        message="A queue of the engine could not be read.",
                        queue=queue,
                        error=str(unreachable),
                    )
                    wait_s = min(self._poll_s, _FAILED_S)

    def _claim(self, queue: str) -> None:
        instance = _get_dbos_instance()
        with self._lock:
            busy = self._claimed[queue]
        if busy >= self._slots[queue]:
            return
        database = instance._sys_db  # noqa: SLF001 -- as above
        settings = self._settings.get(queue) or database.get_queue(queue)
        if settings is None:
            raise Unavailable(f"the engine has no queue {queue}")
        self._settings[queue] = settings
        token = uuid.uuid4().hex
        claimed, _ = database.start_queued_workflows(
            settings,
            GlobalParams.executor_id,
            _APPLICATION_VERSION,
            None,
            busy,
            owner_xid=token,
            is_latest_version=False,  # that would claim rows without a version, of which there are none
        )
        if claimed:
            found = {each["workflow_uuid"]: each for each in database.get_workflow_statuses(claimed)}
            for workflow_id in claimed:
                self._begin(queue, instance, found[workflow_id], token)

    def _begin(self, queue: str, instance: DBOS, status: WorkflowStatusInternal, token: str) -> None:
        with self._lock:
            self._claimed[queue] += 1
        try:
            handle = execute_dequeued_workflow(instance, status, token)
        except BaseException:
            self._ended(queue)
            raise
        if isinstance(handle, WorkflowHandleFuture):
            handle.future.add_done_callback(lambda _future: self._ended(queue))
        else:  # it was cancelled since the claim, and does not run
            self._ended(queue)

    def _ended(self, queue: str) -> None:
        with self._lock:
            self._claimed[queue] -= 1
        self._woken.set()


def _stop_polling() -> None:
    """End DBOS's threads that look for queues, schedules, delays and timeouts: syncd has none, and each look is SQL."""
    instance = _get_dbos_instance()
    jobs = instance._background_jobs_stop_event  # noqa: SLF001 -- DBOS ends them in `destroy` alone
    for event in (*instance.background_thread_stop_events, jobs):
        event.set()


def _keep_logger() -> None:
    """Leave the library's log to the process: without a handler, it would add its own and stop propagating."""
    if not _log.handlers:
        _log.addHandler(logging.NullHandler())
    _log.propagate = True


def create_tables(url: sa.URL) -> None:
    """Migrate the engine's own tables in the record's database to this version of DBOS. Repeating it is success.

    Raises:
        Invalid: This SQLite is too old for this Python, or the tables are newer than this DBOS.
        Unavailable: The database cannot be reached.
    """
    check_sqlite(url)
    with translate_errors(url), _dbos_errors(url):
        DBOS.migrate(_written(url))


def check_sqlite(url: sa.URL, found: tuple[int, ...] = sqlite3.sqlite_version_info) -> None:
    """Raises Invalid where DBOS would fail on an old SQLite: from Python 3.12 on it uses `unixepoch('subsec')`."""
    if sqlite_file(url) is None or sys.version_info < (3, 12) or found >= _SQLITE_MIN:
        return
    raise Invalid(
        f"SQLite is {'.'.join(map(str, found))}, Python {sys.version_info.major}.{sys.version_info.minor} needs 3.42",
        hint="use Python 3.11, a Python built with a newer SQLite, or PostgreSQL",
    )


@contextlib.contextmanager
def _dbos_errors(url: sa.URL) -> Iterator[None]:
    try:
        yield
    except error.DBOSException as refusal:
        shown = url.render_as_string(hide_password=True)
        raise Invalid(f"{shown}: {refusal}", hint=UPGRADE_HINT) from refusal


def _workflow_id(step_id: str, attempt: int) -> str:
    return f"{step_id}:{attempt}"


def _written(url: sa.URL) -> str:
    return url.render_as_string(hide_password=False)
