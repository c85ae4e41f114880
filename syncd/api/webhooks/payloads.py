"""What a genuine delivery tells: which things changed, each by an id that stays when it is sent again.

Nothing of it is believed or fetched. It only says that a registry should be looked at, so a payload that has less
than expected is a hint still, and one about something else (a pull, a deleted tag, a data set) is none.
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
    """What a registry should be looked at for; without a name everything in it.

    A name means what it does in registries of `kind`: a repository, a key in a bucket, a model. Without one it is a
    model of ours.
    """

    kind: str = ""
    name: str = ""
    ref: str = ""


ANYTHING: Final = HintSubject()


@dataclass(frozen=True, slots=True)
class Hint:
    """One thing that changed, as the sender names it."""

    id: str
    subject: str
    about: HintSubject


Parse = Callable[[SignedRequest], Iterator[Hint]]


def hints(kind: str, sent: SignedRequest) -> list[Hint]:
    """What the delivery tells; empty where it is about nothing that could be a version.

    Raises:
        Invalid: It is not what a sender of this kind sends.
    """
    found = list(dict.fromkeys(_PARSERS[kind](sent)))
    if len(found) > HINTS_MAX:
        raise Invalid(f"the delivery tells of {len(found)} things, at most {HINTS_MAX} are taken at once")
    return found


def _hint(identity: object, *subject: object, about: HintSubject = ANYTHING) -> Hint:
    """An id is kept as it is where it can be a key in any database; what else comes is made one by hashing."""
    text = identity if isinstance(identity, str) else json.dumps(identity, sort_keys=True, default=str)
    kept = text if _ID.fullmatch(text) else _hashed(text.encode("utf-8", "surrogatepass"))
    words = " ".join(str(word) for word in subject if isinstance(word, str | int) and word != "")
    return Hint(kept, re.sub(r"[^\x20-\x7e]", "?", words)[:SUBJECT_MAX], about)


def _about(kind: str, name: object, ref: object = "") -> HintSubject:
    """What cannot be a version says of none, so that every version is compared."""
    known = ""
    with suppress(Invalid):
        known = parse_version(ref) if isinstance(ref, str) else ""
    return HintSubject(kind, re.sub(r"[^\x20-\x7e]", "?", name), known) if isinstance(name, str) and name else ANYTHING


def _hashed(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _at(found: object, *keys: str) -> Any:
    """What stands there, None where something on the way is missing or of another kind."""
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _all(found: object) -> Sequence[Any]:
    return found if isinstance(found, list) else ()


def _mlflow(sent: SignedRequest) -> Iterator[Hint]:
    told = object_of(sent.body)
    if told.get("entity") in _MLFLOW and told.get("action") != "deleted":
        name, version = _at(told, "data", "name"), _at(told, "data", "version")
        about = _about("mlflow", name, version)
        yield _hint(sent.headers["x-mlflow-delivery-id"], name, version, _at(told, "data", "alias"), about=about)


def _huggingface(sent: SignedRequest) -> Iterator[Hint]:
    told = object_of(sent.body)
    scope = _at(told, "event", "scope")
    if _at(told, "repo", "type") != "model" or not isinstance(scope, str):
        return
    if scope != "repo" and not scope.startswith("repo.content"):
        return
    name = _at(told, "repo", "name")
    refs = _all(told.get("updatedRefs"))
    for each in refs:
        ref, new = _at(each, "ref"), _at(each, "newSha")
        if new is not None and isinstance(ref, str) and not ref.startswith("refs/pr/"):
            version = ref.removeprefix(_TAGS) if ref.startswith(_TAGS) else new
            yield _hint([name, ref, new], name, ref, about=_about("huggingface", name, version))
    if not refs:  # a wider scope, which does not say what has moved
        yield _hint([name, _at(told, "repo", "headSha")], name, about=_about("huggingface", name))


def _oci(sent: SignedRequest) -> Iterator[Hint]:
    """Our own reading comes back as `pull`: taking it for news would make the registry talk to itself."""
    for event in _all(object_of(sent.body).get("events")):
        target = _at(event, "target")
        if _at(event, "action") in {"push", "mount"} and "octet-stream" not in str(_at(target, "mediaType")):
            told = [_at(target, "repository"), _at(target, "tag") or _at(target, "digest")]
            yield _hint(_at(event, "id") or told, *told, about=_about("oci", *told))


def _harbor(sent: SignedRequest) -> Iterator[Hint]:
    told = object_of(sent.body)
    if told.get("specversion") is not None:
        data, wanted = told.get("data"), told.get("type") == "harbor.artifact.pushed"
        identity: object = [told.get("source"), told.get("id")]
    else:
        data, wanted = told.get("event_data"), told.get("type") == "PUSH_ARTIFACT"
        identity = _hashed(sent.body)
    if wanted:
        tags = [_at(each, "tag") for each in _all(_at(data, "resources"))]
        name = _at(data, "repository", "repo_full_name")
        yield _hint(identity, name, *tags, about=_about("oci", name, tags[0] if len(tags) == 1 else ""))


def _acr(sent: SignedRequest) -> Iterator[Hint]:
    told = object_of(sent.body)
    if told.get("specversion") is not None:  # the enterprise edition, by way of EventBridge
        yield from _cloud_event(told)
    else:
        name, tag = _at(told, "repository", "repo_full_name"), _at(told, "push_data", "tag")
        yield _hint(_hashed(sent.body), name, tag, about=_about("oci", name, tag))


def _dockerhub(sent: SignedRequest) -> Iterator[Hint]:
    told = object_of(sent.body)
    name, tag = _at(told, "repository", "repo_name"), _at(told, "push_data", "tag")
    yield _hint(_hashed(sent.body), name, tag, about=_about("oci", name, tag))


def _github(sent: SignedRequest) -> Iterator[Hint]:
    told = object_of(sent.body)
    event = sent.headers.get("x-github-event", "")
    if event != "ping" and told.get("action") != "deleted":
        name = _at(told, "repository", "full_name")
        yield _hint(sent.headers.get("x-github-delivery") or _hashed(sent.body), event, name)


def _standard(sent: SignedRequest) -> Iterator[Hint]:
    told = object_of(sent.body)
    name, version = _at(told, "data", "model"), _at(told, "data", "version")
    yield _hint(sent.headers["webhook-id"], told.get("type"), name, version, about=_about("", name, version))


def _cloudevents(sent: SignedRequest) -> Iterator[Hint]:
    """Structured, or binary, where the event's own attributes are headers and the body is anything."""
    if "ce-id" in sent.headers:
        yield from _cloud_event({name: sent.headers.get(f"ce-{name}") for name in (*_CLOUD_EVENT, "subject")})
    else:
        yield from _cloud_event(object_of(sent.body))


def _cloud_event(told: Document) -> Iterator[Hint]:
    if not all(isinstance(told.get(key), str) and told[key] for key in _CLOUD_EVENT):
        raise Invalid("the body is not a CloudEvent", hint=f"{', '.join(_CLOUD_EVENT)} are wanted")
    key = _at(told, "data", "oss", "object", "key")
    about = _about("oss", key) if key else _of_acr(told)
    yield _hint([told["source"], told["id"]], told["type"], key or told.get("subject"), about=about)


def _of_acr(told: Document) -> HintSubject:
    """The repository of an event of ACR; what its events about pushes have is known of those about builds only."""
    space, name = _at(told, "data", "RepoNamespaceName"), _at(told, "data", "RepoName")
    named = told["source"] == "acs.cr" and isinstance(space, str) and isinstance(name, str)
    return _about("oci", f"{space}/{name}", _at(told, "data", "Tag")) if named else ANYTHING


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
