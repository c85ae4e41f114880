"""Dispatcher of the engine on DBOS: claims queued attempts for free slots, in place of DBOS's own polls."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping
from typing import Final

import structlog
from dbos import DBOS, Queue

# What DBOS's own poll of a queue calls; it is pinned by the lock files, and tests/conformance holds it.
from dbos._core import WorkflowHandleFuture, execute_dequeued_workflow
from dbos._dbos import _get_dbos_instance
from dbos._sys_db import WorkflowStatusInternal
from dbos._utils import GlobalParams

from syncd.engine.base import MayServe
from syncd.errors import Unavailable

APPLICATION_VERSION: Final = "1"  # a constant: DBOS runs no attempt that another version submitted
_FAILED_S: Final = 0.5  # before a claim that failed is repeated
_STOP_S: Final = 10.0  # for a claim under way to end

log = structlog.get_logger("syncd.engine")


class Dispatcher:
    """Claims attempts for the free slots of each queue and starts them, when it is woken.

    DBOS polls each queue by itself, with eight statements a second and core at rest, and cannot be woken. So it listens
    to no queue here, and this thread does what its poll does, with the same claim.
    """

    def __init__(self, slots: Mapping[str, int], woken: threading.Event, poll_s: float, may: MayServe) -> None:
        self._slots: Final = dict(slots)
        self._woken: Final = woken
        self._poll_s: Final = poll_s
        self._may: Final = may
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
        if busy >= self._slots[queue] or not self._may(queue):
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
            APPLICATION_VERSION,
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


def stop_polling() -> None:
    """End DBOS's threads that look for queues, schedules, delays and timeouts: syncd has none, and each look is SQL."""
    instance = _get_dbos_instance()
    jobs = instance._background_jobs_stop_event  # noqa: SLF001 -- DBOS ends them in `destroy` alone
    for event in (*instance.background_thread_stop_events, jobs):
        event.set()
