"""Engine on DBOS Transact, in the record's own database: attempts are rows, so they survive the process.

Nothing else in syncd imports dbos but `dispatcher.py`. DBOS keeps one instance in a process, so one `DbosEngine` can
serve at a time; any number can submit. What a killed process had claimed is never run again by DBOS, because each
start has a new executor id: the step's lease notices, and the record hands over the next attempt.
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
from dbos import (
    DBOS,
    DBOSClient,
    DBOSConfig,
    DBOSPortableJSONSerializer,
    EnqueueOptions,
    WorkflowStatus,
    error,
)

from syncd.engine.base import ExecutionStatus, MayServe, RunStep, always
from syncd.engine.dispatcher import APPLICATION_VERSION, Dispatcher, stop_polling
from syncd.errors import Conflict, Invalid, Unavailable
from syncd.state.db.url import parse, sqlite_file
from syncd.state.state import UPGRADE_HINT, translate_errors

_APPLICATION: Final = "syncd"
_WORKFLOW: Final = "syncd.step"
POLL_S: Final = 30.0  # a safety: `wake` says when there is something
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
            "app_version": APPLICATION_VERSION,
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

    def serve(self, slots: Mapping[str, int], run: RunStep, may: MayServe = always) -> None:
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
                    self._launch(slots, may)
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
        """Delete attempts that ended before `older_than` and return how many.

        What was claimed before then ends now, so that a later call deletes it: its worker has died, or continues to
        run as after `cancel`.
        """
        with self._translated():
            claimed = self._client.list_workflows(
                status=_TAKEN, end_time=older_than.isoformat(), load_input=False, load_output=False
            )
        self._end([workflow.workflow_id for workflow in claimed])
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

    def _launch(self, slots: Mapping[str, int], may: MayServe) -> None:
        _keep_logger()
        DBOS(config=self._config(slots))
        DBOS.listen_queues([])
        DBOS.launch()
        stop_polling()
        self._dispatcher = Dispatcher(slots, self._woken, self._poll_s, may)
        self._dispatcher.start()

    def _config(self, slots: Mapping[str, int]) -> DBOSConfig:
        return {
            "name": _APPLICATION,
            "system_database_url": _written(self._url),
            "sys_db_pool_size": _POOL_SIZE,
            "application_version": APPLICATION_VERSION,
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
