"""The fault script of OSS and FC: which calls go wrong, how, and how often; driven over HTTP too."""

import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from pydantic import TypeAdapter

from syncd.localcloud.messages import Request, Response, WireFault


@dataclass(frozen=True, slots=True)
class Answer:
    """Say this instead of the service's own. Without `body` the service renders its own error shape."""

    status: int
    code: str = "InternalError"
    message: str = "We encountered an internal error. Please try again."
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None  # what a gateway in front says, such as an HTML page


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection is reset and no answer comes."""


@dataclass(frozen=True, slots=True)
class Delay:
    """The call is applied, or answered, this much later."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Truncate:
    """The answer's body ends after this many bytes, and so does the connection."""

    size_bytes: int


@dataclass(frozen=True, slots=True)
class Corrupt:
    """One bit of the byte at this offset is flipped: of the request's body if it has one, or the answer's.

    `after` it is the answer's always.
    """

    offset_bytes: int


@dataclass(frozen=True, slots=True)
class Trickle:
    """The answer's body comes this slowly."""

    bytes_per_s: int


@dataclass(frozen=True, slots=True)
class State:
    """Values only the service itself can act on, such as `in_progress_s` or `end` of an FC update."""

    values: Mapping[str, Any]


Action = Answer | Reset | Delay | Truncate | Corrupt | Trickle | State
_ACTIONS: dict[str, type[Action]] = {
    kind.__name__: kind for kind in (Answer, Reset, Delay, Truncate, Corrupt, Trickle, State)
}


@dataclass(frozen=True, slots=True)
class FaultRule:
    """One line of the script.

    `operation` and `resource` are regular expressions that must match the whole name
    (`UploadPart|PutObject`, `bucket/models/.*`, `function/alias`). The first `skip` matching calls pass,
    the next `times` are hit (0: all that follow). `when='after'` lets the call be applied first, so that
    only its answer is replaced or lost.
    """

    service: Literal["oss", "fc"]
    action: Action
    operation: str = ".*"
    resource: str = ".*"
    skip: int = 0
    times: int = 1
    when: Literal["before", "after"] = "before"

    def __post_init__(self) -> None:
        """Refuse what could never fire.

        Raises:
            ValueError: An unknown word, an impossible number, or a pattern that does not compile.
        """
        if self.service not in ("oss", "fc") or self.when not in ("before", "after"):
            raise ValueError(f"service is {self.service!r} and when is {self.when!r}")
        for name, count in (("skip", self.skip), ("times", self.times)):
            if type(count) is not int or count < 0:  # JSON may have brought anything
                raise ValueError(f"{name} is {count!r}")
        if isinstance(self.action, Answer) and not 200 <= self.action.status <= 599:
            raise ValueError(f"status is {self.action.status}, not 200 to 599")
        if isinstance(self.action, Trickle) and self.action.bytes_per_s < 1:
            raise ValueError(f"bytes_per_s is {self.action.bytes_per_s}, not 1 or more")
        try:
            re.compile(self.operation)
            re.compile(self.resource)
        except re.error as error:
            raise ValueError(f"pattern does not compile: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """The JSON form; the action's own name is in `action.kind`."""
        plain = asdict(self)
        plain["action"] = {"kind": type(self.action).__name__, **plain["action"]}
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "FaultRule":
        """Read the JSON form.

        Raises:
            ValueError: A name is unknown or missing, or a value is impossible.
        """
        try:
            action = dict(plain["action"])
            kind = _ACTIONS[action.pop("kind")]
            # The constructors refuse unknown names; the adapter holds an action's values against their types.
            rule = cls(**{**plain, "action": kind(**action)})
            TypeAdapter(kind).validate_json(json.dumps(action), strict=True)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a fault rule: {error}") from error
        return rule

    def matches(self, service: str, operation: str, resource: str) -> bool:
        return (
            service == self.service
            and re.fullmatch(self.operation, operation) is not None
            and re.fullmatch(self.resource, resource, re.DOTALL) is not None
        )


@dataclass(slots=True)
class _Armed:
    rule: FaultRule
    skip: int
    hits: int = 0

    @property
    def spent(self) -> bool:
        return 0 < self.rule.times <= self.hits


class FaultScript:
    """The rules in force. Safe to use from any thread; every region of a cloud shares one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: list[_Armed] = []
        self._stopping = threading.Event()

    def add(self, *rules: FaultRule) -> None:
        with self._lock:
            self._armed.extend(_Armed(rule, rule.skip) for rule in rules)

    def clear(self) -> None:
        """Forget all rules, spent ones too."""
        with self._lock:
            self._armed.clear()

    def take(self, service: str, operation: str, resource: str) -> list[FaultRule]:
        """The rules that hit this call, in the order they were added; each is counted as used by it."""
        taken = []
        with self._lock:
            for armed in self._armed:
                if armed.spent or not armed.rule.matches(service, operation, resource):
                    continue
                if armed.skip:
                    armed.skip -= 1
                    continue
                armed.hits += 1
                taken.append(armed.rule)
        return taken

    def to_list(self) -> list[dict[str, Any]]:
        """All rules in their JSON form, each with the `hits` it has had."""
        with self._lock:
            return [{**armed.rule.to_dict(), "hits": armed.hits} for armed in self._armed]

    def pause(self, seconds: float) -> None:
        """Wait as a `Delay` says, or until the cloud stops."""
        self._stopping.wait(seconds)

    def release(self) -> None:
        """End every pause, now and later: the cloud stops."""
        self._stopping.set()

    def resume(self) -> None:
        """Let pauses be pauses again: the cloud starts."""
        self._stopping.clear()


def run_with_faults(
    script: FaultScript,
    rules: list[FaultRule],
    request: Request,
    run: Callable[[], Response],
    render: Callable[[Answer], Response],
) -> Response:
    """Answer a call as the rules taken for it want. `State` rules are left to the service."""
    for rule in rules:
        if isinstance(rule.action, Corrupt) and rule.when == "before" and request.body.length != 0:
            request.body.corrupt(rule.action.offset_bytes)
    for rule in rules:
        if rule.when == "before":
            if isinstance(rule.action, Delay):
                script.pause(rule.action.seconds)
            refusal = _refusal(rule.action, render)
            if refusal is not None:
                return refusal
    response = run()
    for rule in rules:
        if rule.when == "after":
            response = _refusal(rule.action, render, applied=response) or response
        response.wire = _wire(response.wire or WireFault(), rule, request)
    return response


def _refusal(action: Action, render: Callable[[Answer], Response], applied: Response | None = None) -> Response | None:
    if not isinstance(action, Answer | Reset):
        return None
    close = getattr(applied.body, "close", None) if applied else None
    if close is not None:
        close()
    if isinstance(action, Answer):
        return render(action)
    return Response(0, wire=WireFault(reset=True))


def _wire(wire: WireFault, rule: FaultRule, request: Request) -> WireFault:
    match rule.action:
        case Truncate(size_bytes):
            return replace(wire, truncate_at=size_bytes)
        case Corrupt(offset_bytes) if rule.when == "after" or request.body.length == 0:
            return replace(wire, corrupt_at=offset_bytes)
        case Trickle(bytes_per_s):
            return replace(wire, bytes_per_s=bytes_per_s)
        case Delay(seconds) if rule.when == "after":
            return replace(wire, delay_s=seconds)
        case _:
            return wire
