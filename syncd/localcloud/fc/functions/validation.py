"""Validation of function configurations, and the merge rules of UpdateFunction.

Pure. A configuration stays the API's JSON object, because GetFunction returns it field by field.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any, TypeAlias

from syncd.localcloud.fc.errors import invalid
from syncd.localcloud.fc.functions.schema import FROZEN, conform, known_fields

Json: TypeAlias = dict[str, Any]

CUSTOM_CONTAINER = "custom-container"
DEFAULTS: Json = {
    "cpu": 0.5,
    "memorySize": 512,
    "diskSize": 512,
    "timeout": 3,
    "internetAccess": True,
    "description": "",
    "environmentVariables": {},
}
ENV_BYTES_MAX = 4096
MOUNTS_MAX = 5

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_ENV_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_NAS_SERVER = re.compile(r"(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*):(?P<path>/.*)")
_RANGES = {
    "memorySize": (128, 248 * 1024),
    "timeout": (1, 86400),
    "instanceConcurrency": (1, 200),
}
_HEALTH_RANGES = {
    "initialDelaySeconds": (0, 120),
    "periodSeconds": (1, 120),
    "timeoutSeconds": (1, 3),
    "failureThreshold": (1, 120),
    "successThreshold": (1, 120),
}


def created(request: Json, *, nas_needs_vpc: bool = True) -> tuple[str, Json]:
    """The name and configuration of a CreateFunction request.

    Raises:
        FcError: A field is missing or invalid.
    """
    name = request.get("functionName")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise invalid(f"functionName is '{name}': expected 1 to 64 of [A-Za-z0-9_-], not starting with a digit or '-'")
    if not request.get("handler"):
        raise invalid("Handler is required but not provided")
    if not request.get("runtime"):
        raise invalid("Runtime is required but not provided")
    config = {**DEFAULTS, **known_fields(request)}
    check(config, nas_needs_vpc=nas_needs_vpc)
    return name, config


def merged(config: Json, request: Json, *, nas_needs_vpc: bool = True) -> Json:
    """The configuration after an UpdateFunction: omitted fields stay, supplied fields replace whole.

    The one nested exception is the container's port, which stays unless the request has another.

    Raises:
        FcError: The resulting configuration is invalid.
    """
    given = known_fields(request)
    if given.get("handler") == "":
        raise invalid("Handler is required but not provided")
    container = given.get("customContainerConfig")
    old_container = config.get("customContainerConfig") or {}
    if container is not None and container.get("port") is None and "port" in old_container:
        given["customContainerConfig"] = {**container, "port": old_container["port"]}
    after = {**config, **given}
    check(after, nas_needs_vpc=nas_needs_vpc)
    return after


def check(config: Json, *, nas_needs_vpc: bool = True) -> None:
    """Check a configuration before it is saved.

    Raises:
        FcError: The configuration breaks a rule; the first is reported.
    """
    _check_runtime(config)
    for field, (least, most) in _RANGES.items():
        value = config.get(field)
        if value is not None and not least <= value <= most:
            raise invalid(f"{field} is {value}, expected {least} to {most}")
    if config["memorySize"] % 64:
        raise invalid(
            "ContainerMemory is set to an invalid value. The value must be a multiple of 64 MB. "
            f"(actual: '{config['memorySize']}')"
        )
    _check_environment(config.get("environmentVariables") or {})
    _check_mounts(config, nas_needs_vpc=nas_needs_vpc)


def fingerprint(config: Json, image_digest: str | None) -> str:
    """A digest of the fields that publishing freezes."""
    frozen = {k: v for k, v in config.items() if k in FROZEN}
    text = json.dumps([frozen, image_digest], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def public_view(config: Json, resolved_image: str | None) -> Json:
    """The configuration as GetFunction returns it: without code or registry passwords, with the resolved image."""
    view = {k: v for k, v in config.items() if k != "code"}
    container = view.get("customContainerConfig")
    if container is not None:
        container = {k: v for k, v in container.items() if k != "resolvedImageUri"}
        registry = container.get("registryConfig")
        if registry:
            container["registryConfig"] = {k: v for k, v in registry.items() if k != "authConfig"}
        if resolved_image is not None:
            container["resolvedImageUri"] = resolved_image
        view["customContainerConfig"] = container
    if "layers" in view:
        view["layers"] = [{"arn": arn, "size": 0} for arn in view["layers"]]
    return view


def is_container(config: Json) -> bool:
    return bool(config["runtime"] == CUSTOM_CONTAINER)


def oss_mounts(config: Json) -> Sequence[Json]:
    return _points(config, "ossMountConfig")


def nas_mounts(config: Json) -> Sequence[Json]:
    return _points(config, "nasConfig")


def nas_location(server_addr: str) -> tuple[str, str]:
    """The host and the absolute path of a NAS server address.

    Raises:
        FcError: The address is not `host:/path`, or has a `..` segment.
    """
    found = _NAS_SERVER.fullmatch(server_addr)
    if found is None or ".." in found["path"].split("/"):
        raise invalid(f"serverAddr is '{server_addr}', expected <mount target>:/<path>")
    return found["host"], found["path"]


def _check_runtime(config: Json) -> None:
    if not is_container(config):
        code = config.get("code") or {}
        if not (code.get("zipFile") or (code.get("ossBucketName") and code.get("ossObjectName"))):
            raise invalid("Either ossBucketName/ossObjectName or zipFile must be set")
        return
    if "code" in config:
        raise invalid("Either ossBucketName/ossObjectName or zipFile must be set; code is not for custom-container")
    container = config.get("customContainerConfig") or {}
    if not container.get("image"):
        raise invalid("customContainerConfig.image is required for runtime custom-container")
    port = container.get("port")
    if port is not None and not 1 <= port <= 65535:
        raise invalid(f"customContainerConfig.port is {port}, expected 1 to 65535")
    health = container.get("healthCheckConfig") or {}
    for field, (least, most) in _HEALTH_RANGES.items():
        if health.get(field) is not None and not least <= health[field] <= most:
            raise invalid(f"healthCheckConfig.{field} is {health[field]}, expected {least} to {most}")


def _check_environment(variables: Json) -> None:
    size = 0
    for key, value in variables.items():
        conform(value, str, f"environmentVariables.{key}")
        if key.startswith("FC_"):
            raise invalid(f"environment variable '{key}' is reserved: FC_ belongs to the service")
        if not _ENV_KEY.fullmatch(key):
            raise invalid(f"environment variable '{key}' must start with a letter and have letters, digits and _")
        size += len(key.encode()) + len(value.encode())
    if size > ENV_BYTES_MAX:
        raise invalid(f"environmentVariables take {size} bytes, expected at most {ENV_BYTES_MAX}")


def _check_mounts(config: Json, *, nas_needs_vpc: bool) -> None:
    oss, nas = oss_mounts(config), nas_mounts(config)
    for kind, points in (("ossMountConfig", oss), ("nasConfig", nas)):
        if len(points) > MOUNTS_MAX:
            raise invalid(f"{kind} has {len(points)} mount points, expected at most {MOUNTS_MAX}")
    for point in oss:
        if not point.get("bucketName"):
            raise invalid("ossMountConfig.mountPoints: bucketName is required")
        path = point.get("bucketPath") or "/"
        if not {".", ".."}.isdisjoint(path.split("/")):
            raise invalid(f"bucketPath is '{path}', expected an absolute path in the bucket")
    for point in nas:
        nas_location(point.get("serverAddr") or "")
    if oss and not config.get("role"):
        raise invalid("role is required when OSS is mounted")
    if nas and nas_needs_vpc and not (config.get("vpcConfig") or {}).get("vpcId"):
        raise invalid("vpcConfig is required when NAS is mounted")
    _check_directories([point.get("mountDir") or "" for point in (*oss, *nas)])


def _check_directories(mount_dirs: Sequence[str]) -> None:
    seen: list[str] = []
    for given in mount_dirs:
        parts = given.strip("/").split("/")
        if not given.startswith("/") or not {"", ".", ".."}.isdisjoint(parts):
            raise invalid(f"mountDir is '{given}', expected an absolute directory other than /")
        path = "/" + "/".join(parts) + "/"
        for other in seen:
            if path.startswith(other) or other.startswith(path):
                raise invalid(f"mountDir '{given}' conflicts with '{other.rstrip('/')}'")
        seen.append(path)


def _points(config: Json, field: str) -> Sequence[Json]:
    points: Sequence[Json] = (config.get(field) or {}).get("mountPoints") or ()
    return points
