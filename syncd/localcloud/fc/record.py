"""A function with its versions and aliases, as values: what is kept on disk and shown over the API."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from syncd.localcloud.fc.errors import no_alias, no_version
from syncd.localcloud.fc.shape import Json, is_container, shown

LATEST = "LATEST"
_OPTIMIZING = "ImageOptimizing"


@dataclass(frozen=True, slots=True)
class Preparation:
    """The making ready of one saved configuration: it takes until `until_s` and then ends as told."""

    until_s: float = 0.0
    end: str = "Successful"
    reason_code: str = ""
    reason: str = ""

    def status(self, now_s: float) -> str:
        """InProgress, Successful or Failed."""
        return "InProgress" if now_s < self.until_s else self.end


@dataclass(frozen=True, slots=True)
class Running:
    """A configuration that can be run, with the image it resolved to (`repo@sha256:…`)."""

    config: Json
    image: str | None = None


@dataclass(frozen=True, slots=True)
class FunctionVersion:
    """A published version: never changed again."""

    version_id: str
    description: str
    created_s: float
    running: Running
    preparation: Preparation

    def view(self) -> Json:
        return {
            "versionId": self.version_id,
            "description": self.description,
            "createdTime": timestamp(self.created_s),
            "lastModifiedTime": timestamp(self.created_s),
        }


@dataclass(frozen=True, slots=True)
class Alias:
    """A name for one version and at most one more that takes the given share of calls."""

    name: str
    version_id: str
    description: str
    weights: Mapping[str, float]
    created_s: float
    modified_s: float

    def view(self) -> Json:
        return {
            "aliasName": self.name,
            "versionId": self.version_id,
            "description": self.description,
            "additionalVersionWeight": dict(self.weights),
            "createdTime": timestamp(self.created_s),
            "lastModifiedTime": timestamp(self.modified_s),
        }


@dataclass(frozen=True, slots=True)
class Elastic:
    """Instances held ready for a qualifier: what was asked, and how far it has come.

    `start` instances stood when it was asked; the target stands from `until_s` on, unless there is an error.
    """

    config: Json
    start: int
    until_s: float
    error: str = ""

    def current(self, target: int, now_s: float) -> int:
        return self.start if self.error or now_s < self.until_s else target


@dataclass(frozen=True, slots=True)
class FunctionRecord:
    """Everything the service knows of one function.

    `latest` is what was saved last; `serving` is what calls of LATEST run: the one before, while the latest
    is being prepared, and None as long as nothing ever was ready. `ruined` says why LATEST can not run.
    """

    name: str
    created_s: float
    modified_s: float
    latest: Running
    preparation: Preparation
    serving: Running | None = None
    ruined: str = ""
    next_version: int = 1
    published: str = ""
    versions: Mapping[str, FunctionVersion] = field(default_factory=dict)
    aliases: Mapping[str, Alias] = field(default_factory=dict)
    provision: Mapping[str, Elastic] = field(default_factory=dict)
    scaling: Mapping[str, Elastic] = field(default_factory=dict)
    reserved_concurrency: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    restriction: Json = field(default_factory=dict)

    def version(self, version_id: str) -> FunctionVersion:
        """Raises FcError (VersionNotFound)."""
        try:
            return self.versions[version_id]
        except KeyError:
            raise no_version(self.name, version_id) from None

    def alias(self, name: str) -> Alias:
        """Raises FcError (AliasNotFound)."""
        try:
            return self.aliases[name]
        except KeyError:
            raise no_alias(self.name, name) from None

    def settled(self, now_s: float) -> "FunctionRecord":
        """The record once time has done its work: a preparation that has succeeded is what serves."""
        ready = self.preparation.status(now_s) == "Successful"
        return replace(self, serving=self.latest) if ready and self.serving != self.latest else self


def function_view(record: FunctionRecord, arn: str, now_s: float) -> Json:
    """LATEST as GetFunction shows it: the new configuration, even while calls still run the old one."""
    view = _base_view(record, record.latest, arn)
    view["description"] = record.latest.config.get("description", "")
    view["lastModifiedTime"] = timestamp(record.modified_s)
    if is_container(record.latest.config):
        status = record.preparation.status(now_s)
        view |= _state_view(status, record.preparation, first=record.serving is None)
        if record.ruined:
            view |= {"state": "Failed", "stateReason": record.ruined, "stateReasonCode": "ImageNotFound"}
    return view


def version_view(record: FunctionRecord, version: FunctionVersion, arn: str, now_s: float) -> Json:
    """A published version as GetFunction with a qualifier shows it."""
    view = _base_view(record, version.running, arn)
    view["description"] = version.description
    view["lastModifiedTime"] = timestamp(version.created_s)
    if is_container(version.running.config):
        view |= _state_view(version.preparation.status(now_s), version.preparation, first=True)
    return view


def timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_json(record: FunctionRecord) -> Json:
    """The record as it is written to disk."""
    return asdict(record)


def from_json(data: Json) -> FunctionRecord:
    """What `to_json` wrote."""
    return FunctionRecord(
        **data
        | {
            "latest": Running(**data["latest"]),
            "serving": Running(**data["serving"]) if data["serving"] else None,
            "preparation": Preparation(**data["preparation"]),
            "versions": {k: _version_from(v) for k, v in data["versions"].items()},
            "aliases": {k: Alias(**v) for k, v in data["aliases"].items()},
            "provision": {k: Elastic(**v) for k, v in data["provision"].items()},
            "scaling": {k: Elastic(**v) for k, v in data["scaling"].items()},
        }
    )


def _version_from(data: dict[str, Any]) -> FunctionVersion:
    return FunctionVersion(
        **data | {"running": Running(**data["running"]), "preparation": Preparation(**data["preparation"])}
    )


def _base_view(record: FunctionRecord, running: Running, arn: str) -> Json:
    view = shown(running.config, running.image)
    view |= {
        "functionName": record.name,
        "functionArn": arn,
        "functionId": f"{record.name}-{int(record.created_s * 1000):x}",
        "createdTime": timestamp(record.created_s),
        "codeSize": 0,
        "codeChecksum": "0",
        "tags": [{"Key": key, "Value": value} for key, value in record.tags.items()],
    }
    if record.restriction:
        view["invocationRestriction"] = record.restriction
    return view


def _state_view(status: str, preparation: Preparation, *, first: bool) -> Json:
    """`first`: nothing was ready before, so the state itself follows the preparation."""
    reason, code = preparation.reason, preparation.reason_code
    if status == "Successful" and code != _OPTIMIZING:  # the service may be at that when the update is through
        reason = code = ""
    elif status == "InProgress":
        reason = reason or "The system is currently processing the acceleration optimization for the image."
        code = code or _OPTIMIZING
    if not first:
        return {
            "state": "Active",
            "lastUpdateStatus": status,
            "lastUpdateStatusReason": reason,
            "lastUpdateStatusReasonCode": code,
        }
    state = {"InProgress": "Pending", "Failed": "Failed", "Successful": "Active"}[status]
    if state == "Pending":
        reason, code = "Function creating", "Creating"
    return {
        "state": state,
        "stateReason": reason,
        "stateReasonCode": code,
        "lastUpdateStatus": "Failed" if state == "Failed" else "Successful",
    }
