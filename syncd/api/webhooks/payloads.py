"""Webhook payload parsers: which subjects changed, each with an id that is the same when it is sent again.

Nothing in a payload is trusted or fetched. It is only a hint to poll a registry: a payload with fewer fields than
expected still is one, and a payload about something else (a pull, a deleted tag, a data set) is not.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from syncd.api.responses import object_of
from syncd.api.webhooks.signatures import SignedRequest
from syncd.artifact.names import parse_version
from syncd.errors import Invalid

SUBJECT_MAX: Final = 200
HINTS_MAX: Final = 256  # of one delivery; a registry sends a handful
_ID: Final = re.compile(r"[\x21-\x7e]{1,128}")
_MLFLOW: Final = frozenset({"registered_model", "model_version", "model_version_tag", "model_version_alias"})
_CLOUD_EVENT: Final = ("specversion", "id", "source", "type")
_TAGS: Final = "refs/tags/"

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class HintSubject:
    """What to poll a registry for; without a name, everything in it.

    The name has the meaning of registries of `kind`: a repository, a key in a bucket, a model. Without a kind it is a
    model of the configuration.
    """

    kind: str = ""
    name: str = ""
    ref: str = ""


ANYTHING: Final = HintSubject()


@dataclass(frozen=True, slots=True)
class Hint:
    """One change, as the sender names it."""

    id: str
    subject: str
    about: HintSubject


Parse = Callable[[SignedRequest], Iterator[Hint]]


def hints(kind: str, sent: SignedRequest) -> list[Hint]:
    """Parse the hints of a delivery; empty if it is not about a version.

    Raises:
        Invalid: It is not a payload of this kind of sender.
    """
    found = list(dict.fromkeys(_PARSERS[kind](sent)))
    if len(found) > HINTS_MAX:
        raise Invalid(f"expected at most {HINTS_MAX} changes in a delivery, got {len(found)}")
    return found


def _hint(identity: object, *subject: object, about: HintSubject = ANYTHING) -> Hint:
    """Build a hint. An id that any database accepts as a key is kept; anything else is hashed."""
    text = identity if isinstance(identity, str) else json.dumps(identity, sort_keys=True, default=str)
    kept = text if _ID.fullmatch(text) else _hashed(text.encode("utf-8", "surrogatepass"))
    words = " ".join(str(word) for word in subject if isinstance(word, str | int) and word != "")
    return Hint(kept, re.sub(r"[^\x20-\x7e]", "?", words)[:SUBJECT_MAX], about)


def _about(kind: str, name: object, ref: object = "") -> HintSubject:
    """Build a subject. A ref that is not a version's name is left out, so that every version is compared."""
    known = ""
    with suppress(Invalid):
        known = parse_version(ref) if isinstance(ref, str) else ""
    return HintSubject(kind, re.sub(r"[^\x20-\x7e]", "?", name), known) if isinstance(name, str) and name else ANYTHING


def _hashed(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _at(found: object, *keys: str) -> Any:
    """The value at a path of keys; None if a part of the path is missing or of another type."""
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _all(found: object) -> Sequence[Any]:
    return found if isinstance(found, list) else ()


def _mlflow(sent: SignedRequest) -> Iterator[Hint]:
    payload = object_of(sent.body)
    if payload.get("entity") in _MLFLOW and payload.get("action") != "deleted":
        name, version = _at(payload, "data", "name"), _at(payload, "data", "version")
        about = _about("mlflow", name, version)
        yield _hint(sent.headers["x-mlflow-delivery-id"], name, version, _at(payload, "data", "alias"), about=about)


def _huggingface(sent: SignedRequest) -> Iterator[Hint]:
    payload = object_of(sent.body)
    scope = _at(payload, "event", "scope")
    if _at(payload, "repo", "type") != "model" or not isinstance(scope, str):
        return
    if scope != "repo" and not scope.startswith("repo.content"):
        return
    name = _at(payload, "repo", "name")
    refs = _all(payload.get("updatedRefs"))
    for each in refs:
        ref, new = _at(each, "ref"), _at(each, "newSha")
        if new is not None and isinstance(ref, str) and not ref.startswith("refs/pr/"):
            version = ref.removeprefix(_TAGS) if ref.startswith(_TAGS) else new
            yield _hint([name, ref, new], name, ref, about=_about("huggingface", name, version))
    if not refs:  # a wider scope, which does not list the moved refs
        yield _hint([name, _at(payload, "repo", "headSha")], name, about=_about("huggingface", name))


def _oci(sent: SignedRequest) -> Iterator[Hint]:
    """Pushes and mounts only. syncd's own reads come back as `pull`, and would trigger polls without end."""
    for event in _all(object_of(sent.body).get("events")):
        target = _at(event, "target")
        if _at(event, "action") in {"push", "mount"} and "octet-stream" not in str(_at(target, "mediaType")):
            names = [_at(target, "repository"), _at(target, "tag") or _at(target, "digest")]
            yield _hint(_at(event, "id") or names, *names, about=_about("oci", *names))


def _harbor(sent: SignedRequest) -> Iterator[Hint]:
    payload = object_of(sent.body)
    if payload.get("specversion") is not None:
        data, wanted = payload.get("data"), payload.get("type") == "harbor.artifact.pushed"
    else:
        data, wanted = payload.get("event_data"), payload.get("type") == "PUSH_ARTIFACT"
    if wanted:
        tags = [_at(each, "tag") for each in _all(_at(data, "resources"))]
        name = _at(data, "repository", "repo_full_name")
        yield _hint(_hashed(sent.body), name, *tags, about=_about("oci", name, tags[0] if len(tags) == 1 else ""))


def _acr(sent: SignedRequest) -> Iterator[Hint]:
    payload = object_of(sent.body)
    if payload.get("specversion") is not None:  # the enterprise edition, by way of EventBridge
        yield from _cloud_event(payload)
    else:
        name, tag = _at(payload, "repository", "repo_full_name"), _at(payload, "push_data", "tag")
        yield _hint(_hashed(sent.body), name, tag, about=_about("oci", name, tag))


def _dockerhub(sent: SignedRequest) -> Iterator[Hint]:
    payload = object_of(sent.body)
    name, tag = _at(payload, "repository", "repo_name"), _at(payload, "push_data", "tag")
    yield _hint(_hashed(sent.body), name, tag, about=_about("oci", name, tag))


def _github(sent: SignedRequest) -> Iterator[Hint]:
    payload = object_of(sent.body)
    event = sent.headers.get("x-github-event", "")
    if event != "ping" and payload.get("action") != "deleted":
        name = _at(payload, "repository", "full_name")
        yield _hint(_hashed(sent.body), event, name)  # the id in X-GitHub-Delivery is not signed


def _standard(sent: SignedRequest) -> Iterator[Hint]:
    payload = object_of(sent.body)
    name, version = _at(payload, "data", "model"), _at(payload, "data", "version")
    yield _hint(sent.headers["webhook-id"], payload.get("type"), name, version, about=_about("", name, version))


def _cloudevents(sent: SignedRequest) -> Iterator[Hint]:
    """Both modes: structured, and binary with the event's attributes in headers and any body."""
    if "ce-id" in sent.headers:
        yield from _cloud_event({name: sent.headers.get(f"ce-{name}") for name in (*_CLOUD_EVENT, "subject")})
    else:
        yield from _cloud_event(object_of(sent.body))


def _cloud_event(payload: Document) -> Iterator[Hint]:
    if not all(isinstance(payload.get(key), str) and payload[key] for key in _CLOUD_EVENT):
        raise Invalid("the body is not a CloudEvent", hint=f"it needs {', '.join(_CLOUD_EVENT)}")
    key = _at(payload, "data", "oss", "object", "key")
    about = _about("oss", key) if key else _of_acr(payload)
    yield _hint([payload["source"], payload["id"]], payload["type"], key or payload.get("subject"), about=about)


def _of_acr(payload: Document) -> HintSubject:
    """The repository in an event of ACR. Only its build events are documented; push events are read alike."""
    space, name = _at(payload, "data", "RepoNamespaceName"), _at(payload, "data", "RepoName")
    named = payload["source"] == "acs.cr" and isinstance(space, str) and isinstance(name, str)
    return _about("oci", f"{space}/{name}", _at(payload, "data", "Tag")) if named else ANYTHING


_PARSERS: Final[Mapping[str, Parse]] = {
    "mlflow": _mlflow,
    "huggingface": _huggingface,
    "oci": _oci,
    "harbor": _harbor,
    "acr": _acr,
    "dockerhub": _dockerhub,
    "github": _github,
    "standard": _standard,
    "cloudevents": _cloudevents,
    "eventbridge": _cloudevents,
}
