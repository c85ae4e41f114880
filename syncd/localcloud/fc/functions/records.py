"""Records of functions, versions and aliases: their form on disk and their API views."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from syncd.localcloud.fc.errors import no_alias, no_version
from syncd.localcloud.fc.functions.validation import Json, is_container, public_view

LATEST = "LATEST"
_OPTIMIZING = "ImageOptimizing"


@dataclass(frozen=True, slots=True)
class Preparation:
    """Progress of one saved configuration: in progress until `until_s`, then `end`."""

    until_s: float = 0.0
    end: str = "Successful"
    reason_code: str = ""
    reason: str = ""

    def status(self, now_s: float) -> str:
        """InProgress, Successful or Failed."""
        return "InProgress" if now_s < self.until_s else self.end


@dataclass(frozen=True, slots=True)
class ResolvedConfig:
    """A configuration with its resolved image (`repo@sha256:…`)."""

    config: Json
    image: str | None = None


@dataclass(frozen=True, slots=True)
class PublishedVersion:
    """A published version. Immutable."""

    version_id: str
    description: str
    created_s: float
    running: ResolvedConfig
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
    """An alias: one main version, and at most one canary version with its weight."""

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
class ScalingRecord:
    """Provisioned or minimum instances of a qualifier.

    `start` instances ran at the request; the target is reached at `until_s`, unless there is an error.
    """

    config: Json
    start: int
    until_s: float
    error: str = ""

    def current(self, target: int, now_s: float) -> int:
        return self.start if self.error or now_s < self.until_s else target


@dataclass(frozen=True, slots=True)
class FunctionRecord:
    """One function with all its versions, aliases and settings.

    `latest` is the configuration saved last; `serving` is what calls of LATEST run: the previous configuration
    while the latest is in progress, None before the first success. `ruined` is why LATEST cannot run.
    """

    name: str
    created_s: float
    modified_s: float
    latest: ResolvedConfig
    preparation: Preparation
    serving: ResolvedConfig | None = None
    ruined: str = ""
    next_version: int = 1
    published: str = ""
    versions: Mapping[str, PublishedVersion] = field(default_factory=dict)
    aliases: Mapping[str, Alias] = field(default_factory=dict)
    provision: Mapping[str, ScalingRecord] = field(default_factory=dict)
    scaling: Mapping[str, ScalingRecord] = field(default_factory=dict)
    reserved_concurrency: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    restriction: Json = field(default_factory=dict)

    def version(self, version_id: str) -> PublishedVersion:
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
        """The record at `now_s`: a configuration whose preparation has succeeded is served."""
        ready = self.preparation.status(now_s) == "Successful"
        return replace(self, serving=self.latest) if ready and self.serving != self.latest else self


def function_view(record: FunctionRecord, arn: str, now_s: float) -> Json:
    """GetFunction's view of LATEST: the new configuration, even while calls still run the old one."""
    view = _base_view(record, record.latest, arn)
    view["description"] = record.latest.config.get("description", "")
    view["lastModifiedTime"] = timestamp(record.modified_s)
    if is_container(record.latest.config):
        status = record.preparation.status(now_s)
        view |= _state_view(status, record.preparation, first=record.serving is None)
        if record.ruined:
            view |= {"state": "Failed", "stateReason": record.ruined, "stateReasonCode": "ImageNotFound"}
    return view


def version_view(record: FunctionRecord, version: PublishedVersion, arn: str, now_s: float) -> Json:
    """GetFunction's view of a published version."""
    view = _base_view(record, version.running, arn)
    view["description"] = version.description
    view["lastModifiedTime"] = timestamp(version.created_s)
    if is_container(version.running.config):
        view |= _state_view(version.preparation.status(now_s), version.preparation, first=True)
    return view


def timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_json(record: FunctionRecord) -> Json:
    """The record's form on disk."""
    return asdict(record)


def from_json(data: Json) -> FunctionRecord:
    """The record from its form on disk."""
    return FunctionRecord(
        **data
        | {
            "latest": ResolvedConfig(**data["latest"]),
            "serving": ResolvedConfig(**data["serving"]) if data["serving"] else None,
            "preparation": Preparation(**data["preparation"]),
            "versions": {k: _version_from(v) for k, v in data["versions"].items()},
            "aliases": {k: Alias(**v) for k, v in data["aliases"].items()},
            "provision": {k: ScalingRecord(**v) for k, v in data["provision"].items()},
            "scaling": {k: ScalingRecord(**v) for k, v in data["scaling"].items()},
        }
    )


def _version_from(data: dict[str, Any]) -> PublishedVersion:
    return PublishedVersion(
        **data | {"running": ResolvedConfig(**data["running"]), "preparation": Preparation(**data["preparation"])}
    )


def _base_view(record: FunctionRecord, running: ResolvedConfig, arn: str) -> Json:
    view = public_view(running.config, running.image)
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
    """`first`: no configuration was ready before, so `state` follows the preparation."""
    reason, code = preparation.reason, preparation.reason_code
    if status == "Successful" and code != _OPTIMIZING:  # optimization may still run after the update
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
