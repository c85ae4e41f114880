"""What was asked of the local cloud: calls by kind and outcome, and the bytes they carried."""

import threading
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

CALLS_KEPT_MAX = 100_000  # about 30 MB; the counts themselves go on for ever


@dataclass(frozen=True, slots=True)
class Call:
    """One call as it was answered. `status` 0 means that no answer was given."""

    service: str
    operation: str
    resource: str
    status: int
    bytes_in: int = 0
    bytes_out: int = 0
    region: str = ""
    bytes_copied: int = 0  # by the service itself: these were neither sent nor received


class Counters:
    """Totals of all regions, written just before an answer is sent. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._totals: dict[tuple[str, str, int], tuple[int, int, int, int]] = {}
        self._calls: list[Call] = []

    def record(self, call: Call) -> None:
        key = (call.service, call.operation, call.status)
        with self._lock:
            count, bytes_in, bytes_out, copied = self._totals.get(key, (0, 0, 0, 0))
            self._totals[key] = (
                count + 1,
                bytes_in + call.bytes_in,
                bytes_out + call.bytes_out,
                copied + call.bytes_copied,
            )
            if len(self._calls) < CALLS_KEPT_MAX:
                self._calls.append(call)

    def calls(self, operation: str = "", resource_prefix: str = "", service: str = "") -> list[Call]:
        """The first `CALLS_KEPT_MAX` calls, in the order of their answers, that fit what is given."""
        with self._lock:
            kept = list(self._calls)
        return [
            call
            for call in kept
            if operation in ("", call.operation)
            and service in ("", call.service)
            and call.resource.startswith(resource_prefix)
        ]

    def count(self, operation: str, resource_prefix: str = "") -> int:
        return len(self.calls(operation, resource_prefix))

    def bytes_in(self, operation: str, resource_prefix: str = "") -> int:
        """Payload bytes received by the calls that were answered with success."""
        return sum(c.bytes_in for c in self.calls(operation, resource_prefix) if 200 <= c.status < 300)

    def bytes_copied(self, operation: str = "", resource_prefix: str = "") -> int:
        """Bytes the service copied by itself, from one object to another, for the calls that succeeded."""
        return sum(c.bytes_copied for c in self.calls(operation, resource_prefix) if 200 <= c.status < 300)

    def statuses(self, operation: str) -> dict[int, int]:
        return dict(Counter(call.status for call in self.calls(operation)))

    def clear(self) -> None:
        with self._lock:
            self._totals.clear()
            self._calls.clear()

    def to_dict(self) -> dict[str, Any]:
        """The JSON form: totals by service, operation and status, and payload bytes by resource."""
        with self._lock:
            totals = [
                {
                    "service": s,
                    "operation": o,
                    "status": st,
                    "count": n,
                    "bytes_in": i,
                    "bytes_out": out,
                    "bytes_copied": copied,
                }
                for (s, o, st), (n, i, out, copied) in sorted(self._totals.items())
            ]
            return {"totals": totals, "calls": [asdict(call) for call in self._calls[-1000:]]}
