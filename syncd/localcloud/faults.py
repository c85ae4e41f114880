"""Fault injection for OSS and Function Compute: rules that select calls, and the fault each call gets."""

import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from pydantic import TypeAdapter

from syncd.localcloud.httpd.messages import ServerRequest, ServerResponse, WireFault


@dataclass(frozen=True, slots=True)
class Respond:
    """Replace the service's response. Without `body` the service renders an error in its own format."""

    status: int
    code: str = "InternalError"
    message: str = "We encountered an internal error. Please try again."
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None  # a gateway's own page, such as HTML


@dataclass(frozen=True, slots=True)
class Reset:
    """Reset the connection without a response."""


@dataclass(frozen=True, slots=True)
class Delay:
    """Delay the call, or its response."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Truncate:
    """End the response body, and the connection, after this many bytes."""

    size_bytes: int


@dataclass(frozen=True, slots=True)
class FlipBit:
    """Flip one bit of the byte at this offset: in the request body if there is one, else in the response body.

    With `when='after'` always in the response body.
    """

    offset_bytes: int


@dataclass(frozen=True, slots=True)
class Trickle:
    """Limit the rate of the response body."""

    bytes_per_s: int


@dataclass(frozen=True, slots=True)
class SetState:
    """Values for the service's state machine, such as `in_progress_s` or `end` of an FC update."""

    values: Mapping[str, Any]


Action = Respond | Reset | Delay | Truncate | FlipBit | Trickle | SetState
# The wire names are a published format: they stay when a class is renamed.
ACTION_KINDS: dict[str, type[Action]] = {
    "Answer": Respond,
    "Reset": Reset,
    "Delay": Delay,
    "Truncate": Truncate,
    "Corrupt": FlipBit,
    "Trickle": Trickle,
    "State": SetState,
}
_KIND_NAMES = {action: name for name, action in ACTION_KINDS.items()}


@dataclass(frozen=True, slots=True)
class FaultRule:
    """One fault rule.

    `operation` and `resource` are regular expressions that must match the whole name
    (`UploadPart|PutObject`, `bucket/models/.*`, `function/alias`). The first `skip` matching calls pass,
    the next `times` calls get the fault (0: all that follow). With `when='after'` the call is applied first, and
    only its response is replaced or lost.
    """

    service: Literal["oss", "fc"]
    action: Action
    operation: str = ".*"
    resource: str = ".*"
    skip: int = 0
    times: int = 1
    when: Literal["before", "after"] = "before"

    def __post_init__(self) -> None:
        """Validate the rule.

        Raises:
            ValueError: A value is unknown or out of range, or a pattern does not compile.
        """
        if self.service not in ("oss", "fc") or self.when not in ("before", "after"):
            raise ValueError(f"service is {self.service!r} and when is {self.when!r}")
        for name, count in (("skip", self.skip), ("times", self.times)):
            if type(count) is not int or count < 0:  # the value may come from JSON
                raise ValueError(f"{name} is {count!r}")
        if isinstance(self.action, Respond) and not 200 <= self.action.status <= 599:
            raise ValueError(f"status is {self.action.status}, not 200 to 599")
        if isinstance(self.action, Trickle) and self.action.bytes_per_s < 1:
            raise ValueError(f"bytes_per_s is {self.action.bytes_per_s}, not 1 or more")
        try:
            re.compile(self.operation)
            re.compile(self.resource)
        except re.error as error:
            raise ValueError(f"pattern does not compile: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """The JSON form. `action.kind` names the action."""
        plain = asdict(self)
        plain["action"] = {"kind": _KIND_NAMES[type(self.action)], **plain["action"]}
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "FaultRule":
        """Read the JSON form.

        Raises:
            ValueError: A field is unknown or missing, or a value is out of range.
        """
        try:
            action = dict(plain["action"])
            kind = ACTION_KINDS[action.pop("kind")]
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
    """The active rules, shared by all regions of a cloud. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: list[_Armed] = []
        self._stopping = threading.Event()

    def add(self, *rules: FaultRule) -> None:
        with self._lock:
            self._armed.extend(_Armed(rule, rule.skip) for rule in rules)

    def clear(self) -> None:
        """Remove all rules, exhausted ones too."""
        with self._lock:
            self._armed.clear()

    def take(self, service: str, operation: str, resource: str) -> list[FaultRule]:
        """The rules that apply to this call, in the order they were added. Counts one hit for each."""
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
        """All rules in their JSON form, with their `hits` so far."""
        with self._lock:
            return [{**armed.rule.to_dict(), "hits": armed.hits} for armed in self._armed]

    def pause(self, seconds: float) -> None:
        """Wait, at most until the cloud stops."""
        self._stopping.wait(seconds)

    def release(self) -> None:
        """End every pause, now and later. Called when the cloud stops."""
        self._stopping.set()

    def resume(self) -> None:
        """Enable pauses again. Called when the cloud starts."""
        self._stopping.clear()


def run_with_faults(
    script: FaultScript,
    rules: list[FaultRule],
    request: ServerRequest,
    run: Callable[[], ServerResponse],
    render: Callable[[Respond], ServerResponse],
) -> ServerResponse:
    """Answer a call under the rules that apply to it. The service itself handles `State` rules."""
    for rule in rules:
        if isinstance(rule.action, FlipBit) and rule.when == "before" and request.body.length != 0:
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


def _refusal(
    action: Action, render: Callable[[Respond], ServerResponse], applied: ServerResponse | None = None
) -> ServerResponse | None:
    if not isinstance(action, Respond | Reset):
        return None
    close = getattr(applied.body, "close", None) if applied else None
    if close is not None:
        close()
    if isinstance(action, Respond):
        return render(action)
    return ServerResponse(0, wire=WireFault(reset=True))


def _wire(wire: WireFault, rule: FaultRule, request: ServerRequest) -> WireFault:
    match rule.action:
        case Truncate(size_bytes):
            return replace(wire, truncate_at=size_bytes)
        case FlipBit(offset_bytes) if rule.when == "after" or request.body.length == 0:
            return replace(wire, corrupt_at=offset_bytes)
        case Trickle(bytes_per_s):
            return replace(wire, bytes_per_s=bytes_per_s)
        case Delay(seconds) if rule.when == "after":
            return replace(wire, delay_s=seconds)
        case _:
            return wire
