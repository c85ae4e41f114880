"""Scaling of an alias on Function Compute: minimum instances (ScalingConfig), provisioned ones (ProvisionConfig).

Both belong to an alias or LATEST, and stay when the alias moves. The SDK always sends its lists of policies,
so a put without the existing ones would delete them: settings are read whole and put whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from alibabacloud_fc20230330 import models as fc

from syncd.errors import NotFound
from syncd.runtime.fc.call import SdkCall, readable
from syncd.values.function import Scaling

Settings = Mapping[str, Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class _Kind:
    """One of the two: its name in the SDK, and its fields for the number of instances."""

    operation: str
    wanted: str
    target: str
    current: str
    requests: tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]  # get, put, delete
    body: Callable[[], Any]


_KINDS: Final[Mapping[str, _Kind]] = {
    "scaling": _Kind(
        "scaling_config",
        "minInstances",
        "targetInstances",
        "currentInstances",
        (fc.GetScalingConfigRequest, fc.PutScalingConfigRequest, fc.DeleteScalingConfigRequest),
        fc.PutScalingConfigInput,
    ),
    "provision": _Kind(
        "provision_config",
        "defaultTarget",
        "target",
        "current",
        (fc.GetProvisionConfigRequest, fc.PutProvisionConfigRequest, fc.DeleteProvisionConfigRequest),
        fc.PutProvisionConfigInput,
    ),
}
# Read-only fields of a configuration.
_READ_ONLY: Final = {"functionArn", "current", "currentError", "currentInstances", "targetInstances", "target"}


def read(client: Any, call: SdkCall, where: tuple[str, str]) -> Scaling:
    """The scaling of the alias `where[1]`, both kinds together. The alias must exist."""
    settings: dict[str, Mapping[str, object]] = {}
    target = current = 0
    errors = []
    for name, kind in _KINDS.items():
        try:
            answer = _send(client, call, ("get", kind), where, kind.requests[0](qualifier=where[1]))
        except NotFound:
            continue
        with readable(f"{kind.operation} of {':'.join(where)}"):
            found = answer.body.to_map()
            if not {"functionArn", kind.wanted, kind.target} & found.keys():  # damaged, not empty
                raise ValueError("it has no configuration")
            requested = int(found.get(kind.wanted) or found.get(kind.target) or 0)
            kept = {
                field: value for field, value in found.items() if field not in _READ_ONLY and value not in (None, [])
            }
            settings[name] = {**kept, kind.wanted: requested}
            target += int(found.get(kind.target) or requested)
            current += int(found.get(kind.current) or 0)
            errors += [str(found["currentError"])] if found.get("currentError") else []
    return Scaling(settings, target, current, "; ".join(errors))


def put(client: Any, call: SdkCall, where: tuple[str, str], settings: Settings) -> None:
    """Set exactly these settings of the alias: others are deleted, equal ones are left alone."""
    now = read(client, call, where).settings
    for name, kind in _KINDS.items():
        wanted = settings.get(name)
        if wanted is None and name in now:
            _send(client, call, ("delete", kind), where, kind.requests[2](qualifier=where[1]))
        elif wanted is not None and wanted != now.get(name):
            body = kind.body().from_map(dict(wanted))
            _send(client, call, ("put", kind), where, kind.requests[1](body=body, qualifier=where[1]))


def with_least(settings: Settings, least: int) -> Settings:
    """The settings with at least so many instances, of the existing kind; minimum instances if there is none."""
    held = sum(int(str(settings[name].get(kind.wanted) or 0)) for name, kind in _KINDS.items() if name in settings)
    if held >= least:
        return settings
    name = "provision" if "provision" in settings and "scaling" not in settings else "scaling"
    more = int(str(settings.get(name, {}).get(_KINDS[name].wanted) or 0)) + least - held
    return {**settings, name: {**settings.get(name, {}), _KINDS[name].wanted: more}}


def _send(client: Any, call: SdkCall, does: tuple[str, _Kind], where: tuple[str, str], request: Any) -> Any:
    verb, kind = does
    send = getattr(client, f"{verb}_{kind.operation}_with_options")
    what = f"{verb}_{kind.operation}".title().replace("_", "")
    return call(what, ":".join(where), lambda options: send(where[0], request, {}, options))
