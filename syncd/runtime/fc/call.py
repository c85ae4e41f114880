"""Calls to Function Compute: how one is made, and what its failure means."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from alibabacloud_fc20230330.client import Client
from alibabacloud_tea_openapi.utils_models import Config as SdkConfig
from darabonba.exceptions import DaraException, UnretryableException
from darabonba.runtime import RuntimeOptions
from requests.exceptions import RequestException

from syncd import retry, watchdog
from syncd.errors import Conflict, Failed, KeyRefused, NotFound, OutcomeUnknown, Refused, SyncdError, Unavailable
from syncd.retry import Retry
from syncd.secret import Secret, fingerprint, renewal_hint

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


PAUSE_MAX_S: Final = 20.0  # a longer pause raises Unavailable with the remaining time
_RETRY: Final = Retry(attempts_max=4, elapsed_max_s=30.0)
# An answer that is not JSON ends in one of the last three.
_SDK_ERRORS: Final = (
    DaraException, UnretryableException, RequestException, ValueError, AttributeError, TypeError,
)  # fmt: skip


class NoChange(Conflict):
    """The configuration equals that of the newest version."""


class SdkCall(Protocol):
    """Makes one SDK call with its options, and translates its errors."""

    def __call__(
        self, operation: str, what: str, send: Callable[[Any], T], *, read_timeout_s: float | None = None
    ) -> T: ...


@dataclass(frozen=True, slots=True)
class FcSettings:
    """The connection settings of one region's functions."""

    region: str
    endpoint: str  # host, or host:port
    protocol: str  # "https" or "http"
    access_key_id: str
    access_key_secret: Secret
    security_token: Secret | None = None
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 30.0
    poll_s: float = 2.0
    stage_timeout_s: float = 2400.0
    image_timeout_s: float = 2400.0  # optimising an image may take 40 minutes
    calls_in_flight: int = 4  # without invocations
    retry: Retry = _RETRY  # of each call; a write only if it was not carried out


class CallLimiter:
    """The calls to one region, from any number of threads."""

    def __init__(
        self,
        in_flight_max: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._slots: Final = threading.BoundedSemaphore(in_flight_max)
        self._clock: Final = clock
        self._sleep: Final = sleep
        self._not_before_s = 0.0

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a slot and for the end of a pause; then make one call. A throttled call starts a pause.

        Raises:
            Unavailable: The pause is longer than PAUSE_MAX_S.
        """
        with self._slots:
            self._wait()
            try:
                yield
            except Unavailable as busy:
                if busy.retry_after_s:
                    self._not_before_s = max(self._not_before_s, self._clock() + busy.retry_after_s)
                raise

    def _wait(self) -> None:
        left_s = self._not_before_s - self._clock()
        while left_s > 0:  # again, if another call was refused meanwhile
            if left_s > PAUSE_MAX_S:
                raise Unavailable(f"the region requested a pause of {left_s:.0f} s more", retry_after_s=left_s)
            self._sleep(left_s)
            left_s = self._not_before_s - self._clock()


class FcCaller:
    """Makes the calls to one region: retried, limited in number, their errors translated. Safe from several threads."""

    def __init__(self, settings: FcSettings) -> None:
        self.client = _client(settings)
        self._settings = settings
        secrets = (settings.access_key_secret, settings.security_token)
        self._is_renewable = any(secret is not None and secret.is_renewable for secret in secrets)
        self._key = self._key_now()
        self._limiter = CallLimiter(settings.calls_in_flight)

    def __call__(
        self, operation: str, what: str, send: Callable[[RuntimeOptions], T], *, read_timeout_s: float | None = None
    ) -> T:
        """Make one call, around which stand from the outside in: retry, limit, translation of errors."""
        options = RuntimeOptions(
            connect_timeout=int(self._settings.connect_timeout_s * 1000),
            read_timeout=int((read_timeout_s or self._settings.read_timeout_s) * 1000),
            autoretry=False,
        )
        if self._is_renewable and self._key != (key := self._key_now()):  # the SDK reads its key once
            self.client, self._key = _client(self._settings), key

        def translated() -> T:
            try:
                return send(options)
            except _SDK_ERRORS as error:
                raise self._error(error, f"{operation} {what}") from error

        def limited() -> T:
            with self._limiter.turn():
                return translated()

        if operation == "InvokeFunction":  # a probe measures how long one call takes
            return translated()
        # An unknown outcome is an answer that was lost: reading again does no harm, writing again may.
        is_read = operation.startswith(("Get", "List"))
        on = (Unavailable, OutcomeUnknown) if is_read else (Unavailable,)
        return retry.call(self._settings.retry, limited, on=on, wait=watchdog.wait)

    def _key_now(self) -> str:
        """The fingerprint of the access key: another one where the file that it is read from has changed."""
        settings = self._settings
        return fingerprint(settings.access_key_id, settings.access_key_secret, settings.security_token)

    def _error(self, error: Exception, what: str) -> SyncdError:
        translated = translate_errors(error, what)
        if isinstance(translated, KeyRefused):
            translated.key = self._key
            translated.hint = renewal_hint(self._settings.access_key_secret, self._settings.security_token)
        return translated


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


def _client(settings: FcSettings) -> Client:
    token = settings.security_token
    return Client(
        SdkConfig(
            access_key_id=settings.access_key_id,
            access_key_secret=settings.access_key_secret.reveal(),
            security_token=token.reveal() if token else None,
            region_id=settings.region,
            endpoint=settings.endpoint,  # always given: the SDK's own table has a broken entry
            protocol=settings.protocol,
        )
    )
