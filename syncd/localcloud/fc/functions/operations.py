"""State changes of a function record, with their checks. Pure: record in, record out."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum

from syncd.localcloud.fc.errors import FcError, invalid, not_started
from syncd.localcloud.fc.functions import validation
from syncd.localcloud.fc.functions.records import (
    LATEST,
    Alias,
    FunctionRecord,
    Preparation,
    PublishedVersion,
    ResolvedConfig,
)
from syncd.localcloud.fc.functions.validation import Json

_ALIAS_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,127}")
_VERSION_ID = re.compile(r"[0-9]+")


class PublishDuringUpdate(Enum):
    """Behaviour of publishing while an update is in progress; the real service does not document it."""

    REJECT = "reject"
    SNAPSHOT = "snapshot"


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a local region; the defaults are fast and strict."""

    create_s: float = 0.05
    update_s: float = 0.05
    converge_s: float = 0.05
    start_limit_s: float = 20.0
    publish_unchanged_status: int = 400
    publish_during_update: PublishDuringUpdate = PublishDuringUpdate.REJECT
    nas_needs_vpc: bool = True
    alias_to_latest: bool = False


def create(request: Json, preparation: Preparation, now_s: float, settings: Settings) -> FunctionRecord:
    """A new function. Raises FcError when the request is invalid."""
    name, config = validation.created(request, nas_needs_vpc=settings.nas_needs_vpc)
    if not validation.is_container(config):
        preparation = Preparation()
    tags = tags_of(request.get("tags"))
    return FunctionRecord(name, now_s, now_s, ResolvedConfig(config), preparation, tags=tags).settled(now_s)


def update(
    record: FunctionRecord, request: Json, preparation: Preparation, now_s: float, settings: Settings
) -> FunctionRecord:
    """The function after UpdateFunction. The preparation starts over, even without a change."""
    record = record.settled(now_s)
    config = validation.merged(record.latest.config, request, nas_needs_vpc=settings.nas_needs_vpc)
    if not validation.is_container(config):
        preparation = Preparation()
    after = replace(record, latest=ResolvedConfig(config), preparation=preparation, modified_s=now_s, ruined="")
    return after.settled(now_s)


def with_image(record: FunctionRecord, image: str | None, now_s: float) -> FunctionRecord:
    """The record with the resolved image of its latest configuration."""
    latest = replace(record.latest, image=image)
    serving = latest if record.serving == record.latest else record.serving
    return replace(record, latest=latest, serving=serving).settled(now_s)


def without_image(record: FunctionRecord, name: str, before: ResolvedConfig | None) -> FunctionRecord:
    """The record of a failing update: the image does not exist. Calls still run the configuration served before."""
    reason = f"the image '{name}' does not exist, or can not be pulled"
    failing = replace(record.preparation, end="Failed", reason_code="ImageNotFound", reason=reason)
    return replace(record, preparation=failing, serving=before)


def regrouped(record: FunctionRecord, group: str) -> FunctionRecord:
    """The function in another resource group. This is no new configuration, so no preparation starts."""
    latest = replace(record.latest, config={**record.latest.config, "resourceGroupId": group})
    return replace(record, latest=latest, serving=latest if record.serving == record.latest else record.serving)


def publish(record: FunctionRecord, description: str, now_s: float, settings: Settings) -> FunctionRecord:
    """A snapshot of the latest under the next number.

    Raises:
        FcError: Nothing changed since the last publish, or an update is in progress and publishing is not allowed.
    """
    record = record.settled(now_s)
    in_progress = record.preparation.status(now_s) == "InProgress"
    if in_progress and settings.publish_during_update is PublishDuringUpdate.REJECT:
        raise FcError(409, "ConcurrentUpdateError", f"function '{record.name}' is being updated")
    print_ = validation.fingerprint(record.latest.config, record.latest.image)
    if print_ == record.published:
        raise FcError(
            settings.publish_unchanged_status,
            "VersionPublishError",
            f"can not publish version for function '{record.name}', detail: 'No changes were made since last publish'",
        )
    version_id = str(record.next_version)
    version = PublishedVersion(version_id, description, now_s, record.latest, record.preparation)
    return replace(
        record,
        versions={**record.versions, version_id: version},
        next_version=record.next_version + 1,
        published=print_,
    )


def delete_version(record: FunctionRecord, version_id: str) -> FunctionRecord:
    """The function without the version. Aliases that point to it become dangling."""
    if version_id == LATEST:
        raise invalid("version LATEST can not be deleted")
    record.version(version_id)
    return replace(record, versions={k: v for k, v in record.versions.items() if k != version_id})


def create_alias(record: FunctionRecord, request: Json, now_s: float, settings: Settings) -> FunctionRecord:
    """The function with a new alias.

    Raises:
        FcError: The name exists or is invalid, or a version is invalid.
    """
    name = str(request.get("aliasName") or "")
    if not _ALIAS_NAME.fullmatch(name) or name == LATEST:
        raise invalid(f"aliasName is '{name}', expected a letter or _ and then up to 127 of [A-Za-z0-9_-], not LATEST")
    if name in record.aliases:
        raise FcError(409, "AliasAlreadyExists", f"alias '{name}' of function '{record.name}' already exists")
    if not request.get("versionId"):
        raise invalid("versionId is required")
    blank = Alias(name, "", "", {}, now_s, now_s)
    return _put_alias(record, blank, request, now_s, settings)


def update_alias(record: FunctionRecord, name: str, request: Json, now_s: float, settings: Settings) -> FunctionRecord:
    """The function with the changed alias. Omitted fields stay; a new version's instances start from zero."""
    before = record.alias(name)
    after = _put_alias(record, before, request, now_s, settings)
    if after.aliases[name].version_id == before.version_id:
        return after
    until_s = now_s + settings.converge_s
    provision, scaling = dict(after.provision), dict(after.scaling)
    for kept in (provision, scaling):
        if name in kept:
            kept[name] = replace(kept[name], start=0, until_s=until_s)
    return replace(after, provision=provision, scaling=scaling)


def delete_alias(record: FunctionRecord, name: str) -> FunctionRecord:
    """The function without the alias and its scaling configuration; versions stay."""
    record.alias(name)
    return replace(
        record,
        aliases={k: v for k, v in record.aliases.items() if k != name},
        provision={k: v for k, v in record.provision.items() if k != name},
        scaling={k: v for k, v in record.scaling.items() if k != name},
    )


def check_deletable(record: FunctionRecord, now_s: float) -> None:
    """Raises FcError while the function has provisioned or minimum instances."""
    if any(_target(held.config, "defaultTarget", "target") for held in record.provision.values()):
        raise FcError(400, "ProvisionConfigExist", f"function '{record.name}' has provisioned instances")
    if any(held.until_s > now_s or _target(held.config, "minInstances") for held in record.scaling.values()):
        raise FcError(400, "ProvisionConfigExist", f"function '{record.name}' has minimum instances")


@dataclass(frozen=True, slots=True)
class ResolvedVersion:
    """The configuration that a call runs. `version_id` is LATEST for the unpublished one."""

    version_id: str
    running: ResolvedConfig


def resolve(record: FunctionRecord, qualifier: str, chance: float, now_s: float) -> ResolvedVersion:
    """The configuration behind a qualifier. `chance` in [0, 1) selects between an alias's weighted versions.

    Raises:
        FcError: The version or alias does not exist, or is not ready.
    """
    record = record.settled(now_s)
    if qualifier in {"", LATEST}:
        return _latest(record, now_s)
    version_id = qualifier
    if not _VERSION_ID.fullmatch(qualifier):
        alias = record.alias(qualifier)
        version_id = draw(alias.version_id, alias.weights, chance)
        if version_id == LATEST:
            return _latest(record, now_s)
    version = record.version(version_id)
    status = version.preparation.status(now_s)
    if status != "Successful":
        raise not_started(f"version {version_id} of function '{record.name}' is not ready: {status}")
    return ResolvedVersion(version_id, version.running)


def draw(main: str, weights: Mapping[str, float], chance: float) -> str:
    """The version that `chance` selects."""
    for version_id, weight in weights.items():
        if chance < weight:
            return version_id
    return main


def tags_of(given: object) -> Mapping[str, str]:
    """Tags from a request, with `Key` or `key`. Raises FcError when they are invalid."""
    found = {}
    for tag in given if isinstance(given, list) else []:
        key = (tag.get("Key") or tag.get("key")) if isinstance(tag, dict) else None
        if not isinstance(key, str):
            raise invalid(f"tag {tag} has no key")
        found[key] = str(tag.get("Value") or tag.get("value") or "")
    return found


def target_of(kind: str, config: Json) -> int:
    """The target instances of a provision or scaling configuration."""
    return _target(config, "minInstances") if kind == "scaling" else _target(config, "defaultTarget", "target")


def _latest(record: FunctionRecord, now_s: float) -> ResolvedVersion:
    if record.ruined:
        raise not_started(f"function '{record.name}' is Failed: {record.ruined}")
    if record.serving is None:
        state = "Pending" if record.preparation.status(now_s) == "InProgress" else "Failed"
        raise not_started(f"function '{record.name}' is {state}: {record.preparation.reason or 'Function creating'}")
    return ResolvedVersion(LATEST, record.serving)


def _put_alias(record: FunctionRecord, alias: Alias, request: Json, now_s: float, settings: Settings) -> FunctionRecord:
    version_id = request.get("versionId")
    weights = request.get("additionalVersionWeight")
    description = request.get("description")
    after = replace(
        alias,
        version_id=alias.version_id if version_id is None else str(version_id),
        weights=alias.weights if weights is None else _weights(weights),
        description=alias.description if description is None else str(description),
        modified_s=now_s,
    )
    if after.version_id in after.weights:
        raise FcError(
            400,
            "AdditionalVersionContainsMajorVersion",
            f"additionalVersionWeight {dict(after.weights)} cannot contain major version {after.version_id}",
        )
    for named in (after.version_id, *after.weights):
        if named == LATEST and not settings.alias_to_latest:
            raise invalid("an alias must point to a published version, not LATEST")
        if named != LATEST:
            record.version(named)
    return replace(record, aliases={**record.aliases, after.name: after})


def _weights(given: object) -> Mapping[str, float]:
    if not isinstance(given, dict) or len(given) > 1:
        raise invalid(f"additionalVersionWeight is {given}, expected at most one version and its weight")
    for weight in given.values():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1:
            raise invalid(f"additionalVersionWeight is {given}, expected a weight from 0 to 1")
    return {str(version_id): float(weight) for version_id, weight in given.items()}


def _target(config: Json, *fields: str) -> int:
    return next((int(config[field]) for field in fields if config.get(field)), 0)
