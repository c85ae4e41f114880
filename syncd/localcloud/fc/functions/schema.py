"""Types of the fields of a function's configuration."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from syncd.localcloud.fc.errors import invalid

# A type, a list of one schema, or an object of named schemas; unnamed fields of an object may be anything.
Schema: TypeAlias = "type | tuple[type, ...] | list[Schema] | Mapping[str, Schema]"

_NUMBER = (int, float)
_HEALTH: Mapping[str, Schema] = {
    "httpGetUrl": str,
    "initialDelaySeconds": int,
    "periodSeconds": int,
    "timeoutSeconds": int,
    "failureThreshold": int,
    "successThreshold": int,
}
_HOOK: Mapping[str, Schema] = {"handler": str, "command": [str], "timeout": int}

# Publishing freezes these fields; `description`, tags and the resource group belong to the function.
FROZEN: Mapping[str, Schema] = {
    "runtime": str,
    "handler": str,
    "cpu": _NUMBER,
    "memorySize": int,
    "diskSize": int,
    "timeout": int,
    "instanceConcurrency": int,
    "environmentVariables": {},
    "customContainerConfig": {
        "image": str,
        "port": int,
        "entrypoint": [str],
        "command": [str],
        "healthCheckConfig": _HEALTH,
        "registryConfig": {},
    },
    "customRuntimeConfig": {"port": int, "command": [str], "args": [str], "healthCheckConfig": _HEALTH},
    "gpuConfig": {"gpuType": str, "gpuMemorySize": int},
    "ossMountConfig": {
        "mountPoints": [{"bucketName": str, "bucketPath": str, "endpoint": str, "mountDir": str, "readOnly": bool}]
    },
    "nasConfig": {"userId": int, "groupId": int, "mountPoints": [{"serverAddr": str, "mountDir": str}]},
    "polarFsConfig": {},
    "juiceFsConfig": {},
    "vpcConfig": {"vpcId": str, "vSwitchIds": [str], "securityGroupId": str},
    "internetAccess": bool,
    "role": str,
    "logConfig": {},
    "layers": [str],
    "instanceLifecycleConfig": {"initializer": _HOOK, "preStop": _HOOK},
    "tracingConfig": {},
    "customDNS": {},
    "disableOndemand": bool,
    "disableInjectCredentials": str,
    "idleTimeout": int,
    "instanceIsolationMode": str,
    "sessionAffinity": str,
    "sessionAffinityConfig": str,
    "microSandboxConfig": {},
    "enableLongLiving": bool,
    "code": {"zipFile": str, "ossBucketName": str, "ossObjectName": str},
}
UNFROZEN: Mapping[str, Schema] = {"description": str, "resourceGroupId": str}


def known_fields(request: Mapping[str, Any]) -> dict[str, Any]:
    """The known fields of a request. Null counts as omitted; unknown fields are ignored.

    Raises:
        FcError: A field has the wrong type.
    """
    fields = {}
    for field, schema in {**FROZEN, **UNFROZEN}.items():
        value = request.get(field)
        if value is not None:
            conform(value, schema, field)
            fields[field] = value
    return fields


def conform(value: Any, schema: Schema, path: str) -> None:
    """Raises FcError (InvalidArgument) when the value does not match the schema. A field may be null."""
    if isinstance(schema, Mapping):
        _must(isinstance(value, dict), value, path)
        for field, inner in schema.items():
            if value.get(field) is not None:
                conform(value[field], inner, f"{path}.{field}")
    elif isinstance(schema, list):
        _must(isinstance(value, list), value, path)
        for item in value:
            conform(item, schema[0], f"{path}[]")
    else:
        wants_bool = schema is bool
        _must(isinstance(value, schema) and isinstance(value, bool) is wants_bool, value, path)
        if isinstance(value, str) and not _is_plain(value):
            raise invalid(f"{path} has characters that a process environment cannot hold")


def _is_plain(text: str) -> bool:
    """Whether a process environment can hold the text: no NUL, no lone surrogate."""
    return "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text)


def _must(holds: bool, value: Any, path: str) -> None:  # noqa: FBT001 - the condition is what it is about
    if not holds:
        raise invalid(f"{path} has the wrong type: {type(value).__name__}")
