"""A client of the HTTP API: publish, wait, roll back, hold, look. It needs httpx and nothing of the server.

with Client("https://syncd.example.com", token) as client:
release = client.publish("sdxl", "v2")
client.wait(release.id, timeout_s=1800)
"""

from __future__ import annotations

import ssl
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self
from urllib.parse import quote

import httpx

from syncd.errors import Conflict, Failed, Held, Invalid, NotFound, Refused, SyncdError, Unavailable

ENDS: Final = frozenset({"live", "undone", "stalled", "superseded", "cancelled"})
TIMEOUT_S: Final = 30.0  # of one request
TRIES: Final = 4
FIRST_WAIT_S: Final = 0.5
SILENT_MAX_S: Final = 300.0  # a node that is drained and a pod that starts elsewhere take a minute or two
ANSWER_WAIT_MAX_S: Final = 30.0  # however long a server asks to be left alone
_ERRORS: Final[Mapping[str, type[SyncdError]]] = {
    "held": Held,
    "not_found": NotFound,
    "method_not_allowed": NotFound,
    "unauthenticated": Refused,
    "forbidden": Refused,
    "conflict": Conflict,
    "corrupt": Conflict,
    "failed": Failed,
    "refused": Refused,
    "unavailable": Unavailable,
    "not_ready": Unavailable,
    "busy": Unavailable,
    "timeout": Unavailable,
    "bug": Failed,
}


class NotLive(Failed):
    """The release ended, and is not live."""


class TimedOut(Unavailable):
    """The time to wait ran out; the release goes on."""


@dataclass(frozen=True, slots=True)
class Release:
    """A release as the server told it. `document` has all of it; keys may be added, never changed."""

    id: str
    model: str
    version: str
    phase: str
    rollback: bool
    reason: str
    hint: str
    created_at: datetime
    updated_at: datetime
    document: Mapping[str, Any]

    @property
    def has_ended(self) -> bool:
        """Whether nothing more happens to it."""
        return self.phase in ENDS

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Release:
        """Read one. Raises Invalid: it is none."""
        with _ours():
            return cls(
                id=str(document["release"]),
                model=str(document["model"]),
                version=str(document["version"]),
                phase=str(document["phase"]),
                rollback=bool(document["rollback"]),
                reason=str(document["reason"]),
                hint=str(document["hint"]),
                created_at=datetime.fromisoformat(str(document["created_at"])),
                updated_at=datetime.fromisoformat(str(document["updated_at"])),
                document=document,
            )


@dataclass(frozen=True, slots=True)
class Hold:
    """A model that automation leaves alone; nothing of it is released but rollbacks."""

    model: str
    who: str
    why: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Freeze:
    """A model, or with "*" every model, of which nothing is flipped but rollbacks; `until` None: until it is lifted."""

    model: str
    who: str
    why: str
    since: datetime
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Approval:
    """A person's word that a release may be flipped, for the bytes of this digest."""

    release_id: str
    digest: str
    who: str
    at: datetime


class Reader:
    """What a token with the role `read` is enough for. Safe from several threads.

    Requests that did not arrive are sent again; asking twice is asking once. Every method raises:
        Refused: The token is missing, wrong, or may not do this.
        Unavailable: The server does not answer, or says that it cannot now, several times.
        Invalid: What was asked for cannot be right, or the server is not syncd.
    """

    def __init__(
        self,
        server: str,
        token: str,
        *,
        timeout_s: float = TIMEOUT_S,
        verify: ssl.SSLContext | bool = True,
        trust_env: bool = True,
    ) -> None:
        """`server` is a URL; a path in it is kept. `trust_env` takes a proxy from the environment."""
        if not server.startswith(("http://", "https://")):
            raise Invalid(f"{server!r} is not the URL of a server", hint="for example https://syncd.example.com")
        if not token.isascii() or not token.isprintable():
            raise Invalid("the token has characters that no token has", hint="is there a line break in it?")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            self._http = httpx.Client(
                base_url=server, headers=headers, timeout=timeout_s, verify=verify, trust_env=trust_env
            )
        except (httpx.InvalidURL, OSError) as error:
            raise Invalid(f"{server!r} cannot be used: {error}") from error
        self.server: Final = server

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Repeating it is success."""
        self._http.close()

    def release(self, release_id: str) -> Release:
        """One release with its steps and events in `document`. Raises NotFound."""
        return Release.of(self._ask("GET", _of_release(release_id)))

    def releases(self, model: str | None = None, *, limit: int = 20) -> list[Release]:
        """Releases, newest first, of one model or of all. Raises NotFound: no binding serves the model."""
        query = {"limit": str(limit)} | ({} if model is None else {"model": model})
        return [Release.of(each) for each in _rows(self._ask("GET", "/v1/releases", query=query), "releases")]

    def models(self) -> list[Mapping[str, Any]]:
        """Every model that is served, and what is live of it."""
        return _rows(self._ask("GET", "/v1/models"), "models")

    def status(self, model: str | None = None) -> Mapping[str, Any]:
        """What is live where, what is in flight, what is stuck and why. Raises NotFound: no such model."""
        return self._ask("GET", "/v1/status", query={} if model is None else {"model": model})

    def wait(
        self,
        release_id: str,
        *,
        timeout_s: float = 0.0,
        poll_s: float = 1.0,
        going_back: bool = False,
        tell: Callable[[Release], None] | None = None,
    ) -> Release:
        """Wait until a release has ended; `tell` hears of every look. A server that restarts meanwhile is waited for.

        For who is `going_back`, a release that was undone in the middle of its flips is what was asked for.

        Raises:
            TimedOut: `timeout_s` is over (0: never); the release goes on.
            NotLive: It ended otherwise than live.
            NotFound: There is no such release.
            Unavailable: The server was silent for SILENT_MAX_S, or until `timeout_s` was over.
        """
        started = heard = time.monotonic()
        deadline = started + timeout_s if timeout_s else float("inf")
        phase = "not known"
        while True:
            try:
                found = self.release(release_id)
            except Unavailable:
                if time.monotonic() >= min(deadline, heard + SILENT_MAX_S):
                    raise
            else:
                heard, phase = time.monotonic(), found.phase
                if tell is not None:
                    tell(found)
                if found.has_ended:
                    return _well(found, going_back=going_back)
                if heard >= deadline:
                    raise TimedOut(f"{release_id} is {phase} after {timeout_s:g} s", hint="it goes on: wait again")
            time.sleep(max(0.0, min(poll_s, deadline - time.monotonic())))

    def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, str | float] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        query: Mapping[str, str] | None = None,
        tries: int = TRIES,
    ) -> Mapping[str, Any]:
        for wait_s in _waits(tries):
            try:
                answer = self._http.request(method, path, json=body, headers=headers, params=query)
            except (httpx.TransportError, httpx.InvalidURL) as error:
                words = str(error) or type(error).__name__
                failure: SyncdError = Unavailable(f"{self.server}: {words}", hint="is the daemon running there?")
                failure.__cause__ = error
            else:
                if answer.is_success:
                    return _document(answer)
                failure = _failure(answer)
            if wait_s is None or not isinstance(failure, Unavailable):
                raise failure
            time.sleep(min(ANSWER_WAIT_MAX_S, max(wait_s, failure.retry_after_s or 0.0)))
        raise AssertionError


class Client(Reader):
    """A `Reader` that changes things too: `publish` needs the role of that name, the others `operate`.

    Every method raises what those of `Reader` do.
    """

    def publish(self, model: str, version: str, *, key: str | None = None) -> Release:
        """Ask for a release. With the same `key`, within two days, it is the same release; default: a new key.

        Raises:
            Held: The model is on hold.
            NotFound: No binding serves the model, or the registry has no such version.
            Conflict: The version is quarantined, or the key was used for something else.
        """
        headers = {"Idempotency-Key": key or str(uuid.uuid4())}
        return Release.of(self._ask("POST", "/v1/releases", {"model": model, "ref": version}, headers))

    def rollback(self, model: str, why: str = "") -> Release:
        """Go back to the version that was live before, everywhere, and hold the model there.

        Sent once: if the answer is lost, look with `releases` before you ask again.

        Raises:
            NotFound: There is nothing to go back to.
        """
        return Release.of(self._ask("POST", _of_model(model, "rollback"), {"why": why}, tries=1))

    def cancel(self, release_id: str, why: str = "") -> Release:
        """End a release before it moves any alias. What it has copied stays.

        Raises:
            NotFound: There is no such release.
            Conflict: It has ended already, or is moving aliases.
        """
        return Release.of(self._ask("POST", f"{_of_release(release_id)}/cancel", {"why": why}))

    def approve(self, release_id: str) -> Approval:
        """Let a release flip that waits for a person. It may be said before the release is ready.

        Raises:
            NotFound: There is no such release.
            Conflict: It has ended already, or it is not known yet which bytes it is about.
        """
        told = self._ask("POST", f"{_of_release(release_id)}/approve")
        with _ours():
            at = datetime.fromisoformat(str(told["at"]))
            return Approval(str(told["release"]), str(told["digest"]), str(told["who"]), at)

    def hold(self, model: str, why: str = "") -> Hold:
        """Keep automation away from a model. What is held keeps its first reason.

        Raises:
            NotFound: No binding serves the model; as for the three below.
        """
        told = self._ask("POST", _of_model(model, "hold"), {"why": why})
        with _ours():
            return Hold(**_said(told))

    def unhold(self, model: str) -> bool:
        """Lift a hold. Returns whether there was one."""
        return _lifted(self._ask("POST", _of_model(model, "unhold")))

    def freeze(self, model: str | None = None, why: str = "", *, hours: float = 0.0) -> Freeze:
        """Flip nothing of a model, or of any, but rollbacks; for some hours, or until it is lifted."""
        told = self._ask("POST", _of_model(model, "freeze"), {"why": why, "hours": hours})
        with _ours():
            until = None if told["until"] is None else datetime.fromisoformat(str(told["until"]))
            return Freeze(**_said(told), until=until)

    def unfreeze(self, model: str | None = None) -> bool:
        """Lift the freeze of a model, or that of all. Returns whether there was one."""
        return _lifted(self._ask("POST", _of_model(model, "unfreeze")))


def _of_release(release_id: str) -> str:
    return f"/v1/releases/{quote(release_id, safe='')}"


def _of_model(model: str | None, verb: str) -> str:
    place = "everything" if model is None else f"models/{quote(model, safe='/').replace('..', '%2E%2E')}"
    return f"/v1/{place}/{verb}"


def _said(told: Mapping[str, Any]) -> dict[str, Any]:
    since = datetime.fromisoformat(str(told["since"]))
    return {"model": str(told["model"]), "who": str(told["who"]), "why": str(told["why"]), "since": since}


def _rows(told: Mapping[str, Any], key: str) -> list[Any]:
    found = told.get(key)
    if not isinstance(found, list):
        raise _not_ours()
    return found


def _lifted(told: Mapping[str, Any]) -> bool:
    with _ours():
        return bool(told["lifted"])


@contextmanager
def _ours() -> Iterator[None]:
    """Read an answer. Raises Invalid where it is not what syncd answers."""
    try:
        yield
    except (KeyError, ValueError, TypeError) as error:
        raise _not_ours() from error


def _waits(tries: int) -> Iterator[float | None]:
    """How long to wait after each try; None after the last."""
    for number in range(tries - 1):
        yield FIRST_WAIT_S * 2**number
    yield None


def _well(release: Release, *, going_back: bool) -> Release:
    if release.phase == "live" or (going_back and release.phase == "undone" and not release.rollback):
        return release
    raise NotLive(
        f"{release.id} {release.model}@{release.version} is {release.phase}: {release.reason}",
        hint=release.hint or f"`syncd show {release.id}` tells what happened",
    )


def _document(answer: httpx.Response) -> Mapping[str, Any]:
    try:
        found = answer.json()
    except ValueError as error:
        raise _not_ours() from error
    if not isinstance(found, dict):
        raise _not_ours()
    return found


def _failure(answer: httpx.Response) -> SyncdError:
    """What an answer that is no success means; a proxy in front answers in words of its own."""
    try:
        told = answer.json()
        code, message, hint = str(told["code"]), str(told["message"]), str(told["hint"])
    except (ValueError, KeyError, TypeError):
        message = f"{answer.url}: answered {answer.status_code} {answer.reason_phrase}"
        code, hint = ("unavailable" if answer.status_code in {429, 500, 502, 503, 504} else "invalid"), ""
    kind = _ERRORS.get(code, Invalid)
    if not issubclass(kind, Unavailable):
        return kind(message, hint=hint)
    after = answer.headers.get("retry-after", "")
    return kind(message, hint=hint, retry_after_s=float(after) if after.isdecimal() else None)


def _not_ours() -> Invalid:
    return Invalid("the answer is not syncd's", hint="is that the URL of its API?")
