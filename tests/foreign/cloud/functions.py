"""The control API of Function Compute 3.0 (2023-03-30) for one region: functions, versions, aliases, elasticity."""

from __future__ import annotations

import hashlib
import re
import time
from typing import Any, Final

from tests.foreign.cloud.documents import Document, Documents
from tests.foreign.cloud.web import iso_date

ACCOUNT: Final = "1234567890123456"
# How long a function is being updated after UpdateFunction has answered: requests run the old configuration meanwhile.
UPDATE_S: Final = 0.3
# fmt: off
FIELDS: Final = frozenset((
    "functionName", "description", "runtime", "handler", "cpu", "memorySize", "diskSize", "timeout",
    "instanceConcurrency", "environmentVariables", "customContainerConfig", "customRuntimeConfig", "gpuConfig",
    "ossMountConfig", "nasConfig", "vpcConfig", "internetAccess", "role", "logConfig", "layers",
    "instanceLifecycleConfig", "tracingConfig", "customDNS", "disableOndemand", "disableInjectCredentials",
    "idleTimeout", "instanceIsolationMode", "sessionAffinity", "sessionAffinityConfig", "tags", "resourceGroupId",
    "code",
))
# fmt: on
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_ALIAS: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,127}")
_VARIABLE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_STATE: Final = ("pending", "updatedAt", "createdAt")


class FcError(Exception):
    """An error of Function Compute with its HTTP status and code."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def _invalid(message: str) -> FcError:
    return FcError(400, "InvalidArgument", message)


def _paged(items: list[Document], query: dict[str, str], field: str, name: str) -> Document:
    limit = int(query.get("limit") or 20)
    if not 1 <= limit <= 100:
        raise _invalid("limit must be between 1 and 100")
    start = int(query.get("nextToken") or 0)
    page: Document = {field: [item for item in items if item.get(name, "").startswith(query.get("prefix", ""))]}
    more = len(page[field]) > start + limit
    page[field] = page[field][start : start + limit]
    return page | ({"nextToken": str(start + limit)} if more else {})


class Functions:
    """The functions of a region, as the control API shows and changes them."""

    def __init__(self, region: str, documents: Documents) -> None:
        self._region = region
        self._documents = documents

    def create(self, body: Document) -> Document:
        name = body.get("functionName")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise _invalid(f"functionName is invalid: {name!r}")
        _check(body)
        with self._documents.lock:
            if self._documents.get("function", name) is not None:
                raise FcError(409, "FunctionAlreadyExists", f"function '{name}' already exists")
            now = time.time()
            stored = self._resolved(body) | {"createdAt": now, "updatedAt": now}
            self._documents.put("function", name, "", stored)
            self._documents.put("counter", name, "", {"last": 0})
        return self.describe(name, "")

    def _resolved(self, body: Document) -> Document:
        container = dict(body["customContainerConfig"])
        repository = container["image"].partition(":")[0].partition("@")[0]
        digest = hashlib.sha256(container["image"].encode()).hexdigest()
        container["resolvedImageUri"] = f"{repository}@sha256:{digest}"
        container.setdefault("port", 9000)
        return body | {"customContainerConfig": container}

    def latest(self, name: str) -> Document:
        """A function's newest configuration, with the one before an update that is in progress.

        Raises:
            FcError: FunctionNotFound.
        """
        found = self._documents.get("function", name)
        if found is None:
            raise FcError(404, "FunctionNotFound", f"function '{name}' does not exist")
        return found

    def updating(self, stored: Document) -> bool:
        return "pending" in stored and time.time() < float(stored["updatedAt"]) + UPDATE_S

    def update(self, name: str, body: Document) -> Document:
        """Merge by top-level fields. What runs stays the old configuration until the update is done."""
        with self._documents.lock:
            stored = self.latest(name)
            old = stored["pending"] if self.updating(stored) else _configuration(stored)
            new = _configuration(stored) | {key: value for key, value in body.items() if key != "functionName"}
            container = new.get("customContainerConfig")
            if isinstance(container, dict) and not container.get("port"):
                new["customContainerConfig"] = container | {"port": stored["customContainerConfig"]["port"]}
            _check(new)
            times = {"createdAt": stored["createdAt"], "updatedAt": time.time()}
            self._documents.put("function", name, "", self._resolved(new) | times | {"pending": old})
        return self.describe(name, "")

    def delete(self, name: str) -> None:
        with self._documents.lock:
            self.latest(name)
            if any(row.get("minInstances") for row in self._documents.rows("scaling", name)):
                raise FcError(409, "ProvisionConfigExist", "the function has minimum instances")
            for kind, field in (("version", "versionId"), ("alias", "aliasName")):
                for row in self._documents.rows(kind, name):
                    self._documents.delete(kind, name, str(row[field]))
            self._documents.delete("function", name)

    def list_functions(self, query: dict[str, str]) -> Document:
        rows = [
            {"functionName": row["functionName"], "runtime": row["runtime"]} for row in self._documents.rows("function")
        ]
        return _paged(rows, query, "functions", "functionName")

    def resolve(self, name: str, qualifier: str) -> str:
        """The function version that a qualifier names, an alias's main version, or LATEST."""
        self.latest(name)
        if qualifier in {"", "LATEST"}:
            return "LATEST"
        if qualifier.isdigit():
            self.version(name, qualifier)
            return qualifier
        return str(self.alias(name, qualifier)["versionId"])

    def running(self, name: str, version: str) -> Document:
        """The configuration that requests to a version run with: of LATEST the old one, while it is being updated."""
        if version != "LATEST":
            return dict(self.version(name, version)["configuration"])
        stored = self.latest(name)
        return dict(stored["pending"]) if self.updating(stored) else _configuration(stored)

    def describe(self, name: str, qualifier: str) -> Document:
        """GetFunction."""
        version = self.resolve(name, qualifier)
        stored = self.latest(name)
        shown = _configuration(stored) if version == "LATEST" else dict(self.version(name, version)["configuration"])
        updating = version == "LATEST" and self.updating(stored)
        shown |= {
            "functionArn": f"acs:fc:{self._region}:{ACCOUNT}:functions/{name}",
            "functionId": hashlib.md5(name.encode()).hexdigest(),
            "createdTime": iso_date(stored["createdAt"], milliseconds=False),
            "lastModifiedTime": iso_date(stored["updatedAt"], milliseconds=False),
            "state": "Active",
            "stateReason": "",
            "stateReasonCode": "",
            "lastUpdateStatus": "InProgress" if updating else "Successful",
            "lastUpdateStatusReason": "",
            "lastUpdateStatusReasonCode": "",
        }
        return shown

    def publish(self, name: str, body: Document) -> Document:
        """PublishFunctionVersion: a snapshot of LATEST, unless nothing has changed since the newest one."""
        with self._documents.lock:
            stored = self.latest(name)
            if self.updating(stored):
                raise FcError(409, "ConcurrentUpdateError", f"function '{name}' is being updated")
            counter = self._documents.get("counter", name) or {"last": 0}
            newest = counter.get("configuration")
            if newest == _configuration(stored):
                detail = f"can not publish version for {name}, detail: 'No changes were made since last publish'"
                raise FcError(400, "VersionPublishError", detail)
            number = str(counter["last"] + 1)
            now = iso_date(time.time(), milliseconds=False)
            shown = {
                "versionId": number,
                "description": body.get("description") or "",
                "createdTime": now,
                "lastModifiedTime": now,
            }
            version = shown | {"configuration": _configuration(stored)}
            self._documents.put("version", name, number, version)
            self._documents.put("counter", name, "", {"last": int(number), "configuration": _configuration(stored)})
        return shown

    def version(self, name: str, number: str) -> Document:
        """A version with its configuration.

        Raises:
            FcError: VersionNotFound.
        """
        found = self._documents.get("version", name, number)
        if found is None:
            raise FcError(404, "VersionNotFound", f"version '{number}' of function '{name}' does not exist")
        return found

    def versions(self, name: str, query: dict[str, str]) -> Document:
        self.latest(name)
        direction = query.get("direction") or "BACKWARD"
        if direction not in {"BACKWARD", "FORWARD"}:
            raise _invalid("direction must be BACKWARD or FORWARD")
        rows = sorted(self._documents.rows("version", name), key=lambda row: int(row["versionId"]))
        shown = [{key: value for key, value in row.items() if key != "configuration"} for row in rows]
        if direction == "BACKWARD":
            shown.reverse()
        return _paged(shown, query, "versions", "versionId") | {"direction": direction}

    def delete_version(self, name: str, number: str) -> None:
        """Delete a version; aliases that point to it stay, and their calls fail."""
        self.latest(name)
        self.version(name, number)
        self._documents.delete("version", name, number)

    def alias(self, name: str, alias: str) -> Document:
        """An alias.

        Raises:
            FcError: AliasNotFound.
        """
        found = self._documents.get("alias", name, alias)
        if found is None:
            raise FcError(404, "AliasNotFound", f"alias '{alias}' of function '{name}' does not exist")
        return found

    def aliases(self, name: str, query: dict[str, str]) -> Document:
        self.latest(name)
        return _paged(self._documents.rows("alias", name), query, "aliases", "aliasName")

    def create_alias(self, name: str, body: Document) -> Document:
        with self._documents.lock:
            self.latest(name)
            alias = body.get("aliasName")
            if not isinstance(alias, str) or not _ALIAS.fullmatch(alias) or alias == "LATEST":
                raise _invalid(f"aliasName is invalid: {alias!r}")
            if self._documents.get("alias", name, alias) is not None:
                raise FcError(409, "AliasAlreadyExists", f"alias '{alias}' already exists")
            now = iso_date(time.time(), milliseconds=False)
            return self._put_alias(name, {"aliasName": alias, "description": "", "createdTime": now}, body)

    def update_alias(self, name: str, alias: str, body: Document) -> Document:
        with self._documents.lock:
            self.latest(name)
            return self._put_alias(name, self.alias(name, alias), body)

    def _put_alias(self, name: str, old: Document, body: Document) -> Document:
        changed = {key: body[key] for key in ("versionId", "description", "additionalVersionWeight") if key in body}
        new: Document = {"additionalVersionWeight": {}} | old | changed
        weights = new["additionalVersionWeight"] or {}
        main = new.get("versionId")
        if not isinstance(main, str) or not main.isdigit():
            raise _invalid(f"versionId is invalid: {main!r}")
        if not isinstance(weights, dict) or len(weights) > 1:
            raise _invalid("additionalVersionWeight must have one version at most")
        for version, weight in weights.items():
            if version == main:
                detail = f"additionalVersionWeight {weights} cannot contain major version {main}"
                raise FcError(400, "AdditionalVersionContainsMajorVersion", detail)
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1:
                raise _invalid(f"weight must be between 0 and 1: {weight!r}")
            self.version(name, version)
        self.version(name, main)
        new |= {"additionalVersionWeight": weights, "lastModifiedTime": iso_date(time.time(), milliseconds=False)}
        self._documents.put("alias", name, str(new["aliasName"]), new)
        return new

    def delete_alias(self, name: str, alias: str) -> None:
        self.latest(name)
        self.alias(name, alias)
        self._documents.delete("alias", name, alias)
        for kind in ("scaling", "provision"):
            self._documents.delete(kind, name, alias)

    def _elastic(self, name: str, query: dict[str, str]) -> str:
        qualifier = query.get("qualifier") or "LATEST"
        if qualifier.isdigit():
            raise _invalid("elasticity belongs to an alias or LATEST")
        self.resolve(name, qualifier)
        return qualifier

    def elasticity(self, kind: str, name: str, query: dict[str, str]) -> Document:
        """GetScalingConfig or GetProvisionConfig; without one, zeros."""
        qualifier = self._elastic(name, query)
        arn = f"acs:fc:{self._region}:{ACCOUNT}:functions/{name}/{qualifier}"
        stored = self._documents.get(kind, name, qualifier) or {}
        if kind == "scaling":
            count = int(stored.get("minInstances") or 0)
            shown = {"minInstances": 0} | stored
            return shown | {"functionArn": arn, "currentInstances": count, "targetInstances": count, "currentError": ""}
        count = int(stored.get("defaultTarget") or stored.get("target") or 0)
        return (
            {"defaultTarget": 0} | stored | {"functionArn": arn, "target": count, "current": count, "currentError": ""}
        )

    def put_elasticity(self, kind: str, name: str, query: dict[str, str], body: Document) -> Document:
        qualifier = self._elastic(name, query)
        field = "minInstances" if kind == "scaling" else "defaultTarget"
        count = body.get(field, 0)
        if not isinstance(count, int) or not 0 <= count <= 10_000:
            raise _invalid(f"{field} must be between 0 and 10000")
        self._documents.put(kind, name, qualifier, body)
        return self.elasticity(kind, name, query)

    def delete_elasticity(self, kind: str, name: str, query: dict[str, str]) -> None:
        self._documents.delete(kind, name, self._elastic(name, query))


def _configuration(stored: Document) -> Document:
    return {key: value for key, value in stored.items() if key not in _STATE}


def _check(body: Document) -> None:
    """Refuse what the documentation says is refused."""
    if unknown := set(body) - FIELDS:
        raise _invalid(f"unknown fields: {', '.join(sorted(unknown))}")
    if not body.get("handler"):
        raise _invalid("Handler is required but not provided")
    if body.get("runtime") != "custom-container":
        raise FcError(501, "NotImplemented", f"not played: runtime {body.get('runtime')!r}")
    if "code" in body:
        raise _invalid("Either ossBucketName/ossObjectName or zipFile must be set")
    container = body.get("customContainerConfig")
    if not isinstance(container, dict) or not container.get("image"):
        raise _invalid("customContainerConfig.image is required")
    memory = body.get("memorySize", 512)
    if not isinstance(memory, int) or not 128 <= memory <= 32768 or memory % 64:
        raise _invalid(
            f"ContainerMemory is set to an invalid value. It must be a multiple of 64 MB. (actual: '{memory}')"
        )
    if not 1 <= int(body.get("timeout", 3)) <= 86_400 or not 1 <= int(body.get("instanceConcurrency") or 1) <= 200:
        raise _invalid("timeout or instanceConcurrency is out of range")
    _check_variables(body.get("environmentVariables") or {})
    _check_mounts(body)


def _check_variables(variables: dict[str, Any]) -> None:
    if sum(len(name.encode()) + len(str(value).encode()) for name, value in variables.items()) > 4096:
        raise _invalid("environment variables exceed 4 KB")
    for name, value in variables.items():
        if not _VARIABLE.fullmatch(name) or name.startswith("FC_") or not isinstance(value, str):
            raise _invalid(f"environment variable is invalid or reserved: {name!r}")


def _check_mounts(body: Document) -> None:
    oss = (body.get("ossMountConfig") or {}).get("mountPoints") or []
    nas = (body.get("nasConfig") or {}).get("mountPoints") or []
    if len(oss) > 5 or len(nas) > 5:
        raise _invalid("at most 5 mount points of each kind are allowed")
    if nas and not (body.get("vpcConfig") or {}).get("vpcId"):
        raise _invalid("vpcConfig is required to mount a NAS file system")
    if oss and not body.get("role"):
        raise _invalid("role is required to mount a bucket")
    if any(":" not in str(point.get("serverAddr")) for point in nas):
        raise _invalid("nasConfig serverAddr must be SERVER:/PATH")
    directories = [str(point.get("mountDir") or "") for point in (*oss, *nas)]
    if any(not directory.startswith("/") or directory == "/" for directory in directories):
        raise _invalid("mountDir must be an absolute path below /")
    for index, directory in enumerate(directories):
        others = directories[:index] + directories[index + 1 :]
        if any((directory.rstrip("/") + "/").startswith(other.rstrip("/") + "/") for other in others):
            raise _invalid(f"mount directories conflict: {directory}")
