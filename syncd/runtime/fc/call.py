"""Calls to Function Compute, and the mapping of their errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Protocol, TypeVar

from darabonba.exceptions import DaraException

from syncd.errors import Conflict, Failed, KeyRefused, NotFound, OutcomeUnknown, Refused, SyncdError, Unavailable

T = TypeVar("T")

_REACHABLE_HINT: Final = "is the endpoint right, and reachable from this machine?"
_KEY_CODES: Final = (  # how the codes of a refused or ended access key begin
    "InvalidAccessKeyId",
    "InvalidSecurityToken",
    "SecurityTokenExpired",
    "SignatureDoesNotMatch",
    "SignatureNotMatch",
)
_THROTTLED: Final = frozenset({"ResourceExhausted", "ResourceThrottled", "ConcurrentUpdateError", "ServiceUnavailable"})


class NoChange(Conflict):
    """The configuration equals that of the newest version."""


class SdkCall(Protocol):
    """Makes one SDK call with its options, and translates its errors."""

    def __call__(
        self, operation: str, what: str, send: Callable[[Any], T], *, read_timeout_s: float | None = None
    ) -> T: ...


@contextmanager
def readable(what: str) -> Iterator[None]:
    """Translate errors while reading an answer inside the block. The SDK does not validate the types of fields.

    Raises:
        Unavailable: A field of the answer is missing, or has another type.
    """
    try:
        yield
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
        reason = f"{what}: the answer cannot be read: {str(error)[:300]}"
        raise Unavailable(reason, hint=_REACHABLE_HINT) from error


def translate_errors(error: Exception, what: str) -> SyncdError:
    """The syncd error for an SDK failure. Without a status, the answer was lost or unreadable.

    For an answer that is not JSON the SDK raises ValueError, AttributeError or TypeError.
    """
    status = getattr(error, "status_code", None)
    code = str(getattr(error, "code", "") or "")
    if not isinstance(error, DaraException) or status is None:
        inner = getattr(error, "inner_exception", None) or error
        said = " ".join(str(getattr(inner, "message", "") or inner).split())
        return OutcomeUnknown(f"{what}: no usable answer: {said[:300]}", hint=_REACHABLE_HINT)
    said = " ".join(str(getattr(error, "message", "")).split())  # a function's own trace may be in it
    message = f"{what}: {status} {code}: {said[:1000]}"
    if status == 429 or code in _THROTTLED or code.startswith("Throttling"):
        after_ms = getattr(error, "retry_after", None)
        throttled = f"{status} {code}".rstrip()
        return Unavailable(message, retry_after_s=after_ms / 1000 if after_ms else None, throttled=throttled)
    if code == "VersionPublishError":
        return NoChange(message)
    if status >= 500:
        return OutcomeUnknown(message)
    if status in {400, 403} and code.startswith(_KEY_CODES):
        return KeyRefused(message)
    kinds: Mapping[int, type[SyncdError]] = {404: NotFound, 401: KeyRefused, 403: Refused, 409: Conflict}
    hints = {403: "check the access key and its permissions (fc:* on this function, ram:PassRole for its role)"}
    return kinds.get(status, Failed)(message, hint=hints.get(status, ""))
