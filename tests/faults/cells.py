"""The faults of the local cloud, each on each kind of call that a release makes of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from syncd.localcloud.faults import Action, Delay, FaultRule, FlipBit, Reset, Respond, SetState, Truncate

TIMEOUT_S: Final = 1.0  # of the clients, where an answer is to come too late
LATE_S: Final = 1.6
_HTML: Final = Respond(502, body="<html><h1>502 Bad Gateway</h1></html>", headers={"Content-Type": "text/html"})
_SLOW_DOWN: Final = {"x-acs-retry-after": "100", "x-oss-qos-delay-time": "100"}  # milliseconds

OSS_READS: Final = ("ListObjectsV2", "HeadObject", "GetObject", "ListMultipartUploads")
OSS_WRITES: Final = ("PutObject", "InitiateMultipartUpload", "UploadPart", "CompleteMultipartUpload")
FC_READS: Final = ("GetFunction", "GetAlias", "ListFunctionVersions")
FC_WRITES: Final = ("UpdateFunction", "PublishFunctionVersion", "UpdateAlias", "InvokeFunction")
SCALING: Final = ("GetScalingConfig", "PutScalingConfig", "DeleteScalingConfig")  # where instances are held ready

When = Literal["before", "after"]
_REFUSALS: Final[Mapping[str, Action]] = {
    "429": Respond(429, "Throttling.User", "slow down", _SLOW_DOWN),
    "500": Respond(500, "InternalError", "try again"),
    "503": Respond(503, "ServiceUnavailable", "try again"),
    "html 502": _HTML,
    "empty 200": Respond(200, body=""),
    "reset": Reset(),
    "403": Respond(403, "AccessDenied", "not yours"),
}
_LOST: Final[Mapping[str, Action]] = {
    "answer lost": Reset(),
    "500 though applied": Respond(500, "InternalError", "try again"),
    "html 502 though applied": _HTML,
    "empty 200 though applied": Respond(200, body=""),
    "truncated answer": Truncate(5),
    "late answer": Delay(LATE_S),
}
_STEPS: Final = 'steps = ["50% 1s"]\njudge_samples = 2\njudge_failures_max = 1\ndeadline_s = 2.0'
_WARM: Final = "warm = 1\nwarm_timeout_s = 5.0"
_CORRUPT: Final = FlipBit(50)
_WRONG_DIGEST: Final = FlipBit(60)  # the function's answer has the digest there
_WRONG_CRC: Final = Respond(200, body="", headers={"x-oss-hash-crc64ecma": "1", "etag": '"0"', "x-oss-request-id": "1"})


@dataclass(frozen=True)
class Cell:
    """One fault on one kind of call, once or for ever."""

    fault: str
    rule: FaultRule
    timeout_s: float = 30.0
    strategy: str = ""  # by which the release moves
    binding: str = ""  # more settings of each binding
    ends: str = (
        ""  # how it has to end, where it lasts for ever; "" where any end is right that leaves nothing half-done
    )

    @property
    def call(self) -> str:
        """The call that meets it."""
        return f"{self.rule.service} {self.rule.operation}"

    @property
    def often(self) -> str:
        """Whether it happens once, or for ever."""
        return "once" if self.rule.times else "always"

    @property
    def what(self) -> str:
        """The fault, and what kind of release meets it."""
        kinds = (" in steps" if self.strategy else "", " with instances held ready" if self.binding else "")
        return f"{self.fault}{''.join(kinds)}"

    @property
    def name(self) -> str:
        return f"{self.call} {self.what} {self.often}"


def cells() -> Iterator[Cell]:
    """All of them, in an order that stays."""
    for cell in _once():
        yield cell
        yield replace(cell, rule=replace(cell.rule, times=0))


def _scaling() -> Iterator[Cell]:
    """Each of them at the candidate, before the probe or after the end: fewer faults, as one table handles them all."""
    for operation in SCALING:
        for fault in ("429", "500", "403", "reset", "html 502"):
            yield replace(_cell("fc", operation, fault, _REFUSALS[fault]), binding=_WARM)
        for fault in ("late answer",) if operation.startswith("Get") else ("answer lost", "500 though applied"):
            yield replace(_cell("fc", operation, fault, _LOST[fault], "after"), binding=_WARM)


def _once() -> Iterator[Cell]:
    for operation in (*OSS_READS, *OSS_WRITES):
        yield from _common("oss", operation)
    for operation in (*FC_READS, *FC_WRITES):
        yield from _common("fc", operation)
    for operation in ("PutObject", "UploadPart"):
        yield _cell("oss", operation, "bit flipped on the way there", _CORRUPT)
    for operation in ("PutObject", "UploadPart", "CompleteMultipartUpload", "HeadObject"):
        yield _cell("oss", operation, "wrong crc in the answer", _WRONG_CRC, "after")
    for operation in ("GetObject", "ListObjectsV2", "ListMultipartUploads"):
        yield _cell("oss", operation, "bit flipped on the way back", _CORRUPT, "after")
    for operation in FC_READS:
        yield _cell("fc", operation, "bit flipped on the way back", FlipBit(20), "after")
    proven = _cell("fc", "InvokeFunction", "bit of the digest flipped on the way back", _WRONG_DIGEST, "after")
    yield replace(proven, ends="stalled")
    yield from _scaling()
    yield from _in_the_middle_of_the_flips()
    yield from _in_steps()
    yield _cell("fc", "UpdateFunction", "in progress for a while", SetState({"in_progress_s": 1.0}))
    yield _cell("fc", "UpdateFunction", "ends Failed", SetState({"end": "Failed", "reason": "no such image"}))


def _in_the_middle_of_the_flips() -> Iterator[Cell]:
    """One alias has moved, or its move is being read back, when it begins: what follows is a release half-way."""
    for fault, action in _REFUSALS.items():
        yield _half_way(_cell("fc", "UpdateAlias", f"{fault} after the first flip", action), 1)
        yield _half_way(
            _cell("fc", "GetAlias", f"{fault} after the first flip", action), 8
        )  # 3 to stage, 3 to see what hangs there, 2 to flip
    for fault, action in _LOST.items():
        yield _half_way(_cell("fc", "UpdateAlias", f"{fault} after the first flip", action, "after"), 1)


def _in_steps() -> Iterator[Cell]:
    """A share is being given, read back, or judged when it begins."""
    kinds: tuple[tuple[When, Mapping[str, Action]], ...] = (("before", _REFUSALS), ("after", _LOST))
    for when, faults in kinds:
        for fault, action in faults.items():
            cell = _cell("fc", "UpdateAlias", f"{fault} at a share", action, when)
            yield replace(_half_way(cell, 1), strategy=_STEPS)
    for fault in ("503", "403", "reset", "html 502"):
        cell = _cell("fc", "InvokeFunction", f"{fault} at judging", _REFUSALS[fault])
        yield replace(cell, rule=replace(cell.rule, skip=3), strategy=_STEPS)  # 3 to probe
    cell = _cell("fc", "InvokeFunction", "bit of the digest flipped at judging", _WRONG_DIGEST, "after")
    yield replace(cell, rule=replace(cell.rule, skip=3), strategy=_STEPS, ends="undone")


def _half_way(cell: Cell, skip: int) -> Cell:
    return replace(cell, rule=replace(cell.rule, resource=".*/prod", skip=skip))


def _common(service: Literal["oss", "fc"], operation: str) -> Iterator[Cell]:
    for fault, action in _REFUSALS.items():
        yield _cell(service, operation, fault, action)
    is_read = operation in (*OSS_READS, *FC_READS)
    for fault, action in _LOST.items():
        if operation == "HeadObject" and isinstance(action, Truncate):
            continue  # there is no body to cut
        if not is_read or isinstance(action, Truncate | Delay):  # of a read nothing is applied: it is as if before
            yield _cell(service, operation, fault, action, "after")


def _cell(service: Literal["oss", "fc"], operation: str, fault: str, action: Action, when: When = "before") -> Cell:
    timeout_s = TIMEOUT_S if isinstance(action, Delay) else 30.0
    return Cell(fault, FaultRule(service, action, operation, when=when), timeout_s)
