"""Call counters of the local cloud: calls and bytes by operation, resource and status."""

import threading
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

CALLS_KEPT_MAX = 100_000  # about 30 MB; the totals have no limit


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One completed call. `status` 0 means that no response was sent."""

    service: str
    operation: str
    resource: str
    status: int
    bytes_in: int = 0
    bytes_out: int = 0
    region: str = ""
    bytes_copied: int = 0  # on the server side: neither sent nor received


class Counters:
    """Totals of all regions, updated just before each response. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._totals: dict[tuple[str, str, int], tuple[int, int, int, int]] = {}
        self._calls: list[CallRecord] = []

    def record(self, call: CallRecord) -> None:
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

    def calls(self, operation: str = "", resource_prefix: str = "", service: str = "") -> list[CallRecord]:
        """The matching calls among the first `CALLS_KEPT_MAX`, in the order of their responses."""
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
        """Payload bytes received by the successful calls."""
        return sum(c.bytes_in for c in self.calls(operation, resource_prefix) if 200 <= c.status < 300)

    def bytes_copied(self, operation: str = "", resource_prefix: str = "") -> int:
        """Bytes that successful calls copied on the server side, from one object to another."""
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
