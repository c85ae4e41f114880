"""RAM policies: what a configuration needs of the platform, by credentials and for the functions, and no more.

Sources: `api-fc-2023-03-30-ram` (actions are named like the operations; a function's versions and aliases are resources
below it), the permissions section of each OSS operation (parts of an upload need `oss:PutObject`, a HEAD needs
`oss:GetObject`, a copy both), `ram-authorization-information` of Container Registry, all on www.alibabacloud.com/help,
read 2026-11-30.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from syncd.config.fields import BucketTable
from syncd.config.registries import OciRegistrySettings, OssRegistrySettings, PaiRegistrySettings
from syncd.config.targets import OssTargetSettings
from syncd.config.values import BindingSettings, Config, FcRuntimeSettings

POLICY_CHARS_MAX: Final = 6144  # of one custom policy, without white space
FUNCTIONS: Final = "functions"  # the name of the policy for the functions' roles
_FUNCTION: Final = (
    *("CreateAlias", "DeleteAlias", "GetAlias", "ListAliases", "UpdateAlias"),
    *("DeleteFunctionVersion", "GetFunction", "InvokeFunction", "ListFunctionVersions", "PublishFunctionVersion"),
    *("DeleteProvisionConfig", "GetProvisionConfig", "PutProvisionConfig"),
    *("DeleteScalingConfig", "GetScalingConfig", "PutScalingConfig", "UpdateFunction"),
)
_BUCKET: Final = ("GetBucketInfo", "GetBucketLifecycle", "ListMultipartUploads")
_OBJECT: Final = ("AbortMultipartUpload", "DeleteObject", "GetObject", "ListParts", "PutObject")
_ACCOUNT: Final = re.compile(r"(\d{10,})\.")  # an endpoint of Function Compute may begin with the account's number


@dataclass(frozen=True, slots=True)
class Policies:
    """RAM policy documents by the name of the credentials that need them; `FUNCTIONS`: for the functions' roles.

    `notes` says what no document has.
    """

    documents: Mapping[str, Mapping[str, Any]]
    notes: tuple[str, ...] = ()


def policies(config: Config, region: str | None = None) -> Policies:
    """The policies that a configuration needs; with `region`, only what is in that region.

    Statements of the same actions and condition are one. A binding's function can be called, changed and moved; a
    target's prefix can be written; a registry's prefix can be read. A function's role is never passed on
    (`ram:PassRole`): an update names no role, so the function keeps its own.
    """
    granted: dict[str, list[_Grant]] = {}
    for name, grant in _grants(config, region):
        granted.setdefault(name, []).append(grant)
    documents = {name: {"Version": "1", "Statement": _statements(each)} for name, each in sorted(granted.items())}
    notes = tuple(
        f"registries.{name}: no statement reads the model registry of PAI: attach AliyunPAIReadOnlyAccess to "
        f'the user of credentials "{each.credentials}"'
        for name, each in config.registries.items()
        if isinstance(each, PaiRegistrySettings) and region in (None, each.region)
    )
    return Policies(documents, notes)


@dataclass(frozen=True, slots=True)
class _Grant:
    service: str
    actions: tuple[str, ...]
    resource: str
    prefix: str | None = None  # of the keys that may be listed


def _grants(config: Config, region: str | None) -> Iterator[tuple[str, _Grant]]:
    for binding in config.bindings.values():
        runtime = config.runtimes[binding.runtime]
        if region in (None, runtime.region):
            yield from ((runtime.credentials, each) for each in _of_function(runtime, binding))
    for target in config.targets.values():
        if isinstance(target, OssTargetSettings) and region in (None, target.region):
            yield target.credentials, _listing(target)
            yield target.credentials, _Grant("oss", _BUCKET, _bucket(target))
            yield target.credentials, _Grant("oss", _OBJECT, _objects(target))
            yield FUNCTIONS, _listing(target)
            yield FUNCTIONS, _Grant("oss", ("GetObject",), _objects(target))
    for registry in config.registries.values():
        if isinstance(registry, OssRegistrySettings) and region in (None, registry.region):
            yield registry.credentials, _listing(registry)
            yield registry.credentials, _Grant("oss", ("GetObject",), _objects(registry))
        if isinstance(registry, OciRegistrySettings) and registry.acr and region in (None, registry.acr.region):
            acr = registry.acr
            repositories = f"acs:cr:{acr.region}:*:repository/{acr.instance}/*"
            yield acr.credentials, _Grant("cr", ("GetAuthorizationToken",), "*")
            yield acr.credentials, _Grant("cr", ("PullRepository",), repositories)


def _of_function(runtime: FcRuntimeSettings, binding: BindingSettings) -> Iterator[_Grant]:
    account = _ACCOUNT.match(runtime.endpoint)
    function = f"acs:fc:{runtime.region}:{account[1] if account else '*'}:functions/{binding.function}"
    yield _Grant("fc", _FUNCTION, function)
    yield _Grant("fc", _FUNCTION, f"{function}/*")  # its versions and aliases


def _listing(bucket: BucketTable) -> _Grant:
    return _Grant("oss", ("ListObjects",), _bucket(bucket), f"{bucket.prefix}*" if bucket.prefix else None)


def _bucket(bucket: BucketTable) -> str:
    return f"acs:oss:*:*:{bucket.bucket}"


def _objects(bucket: BucketTable) -> str:
    return f"acs:oss:*:*:{bucket.bucket}/{bucket.prefix}*"


def _statements(grants: Iterable[_Grant]) -> list[dict[str, Any]]:
    resources: dict[tuple[str, tuple[str, ...], str | None], list[str]] = {}
    for each in dict.fromkeys(grants):
        resources.setdefault((each.service, each.actions, each.prefix), []).append(each.resource)
    return [
        {
            "Effect": "Allow",
            "Action": [f"{service}:{action}" for action in actions],
            "Resource": sorted(set(named)),
            **({"Condition": {"StringLike": {"oss:Prefix": [prefix]}}} if prefix is not None else {}),
        }
        for (service, actions, prefix), named in resources.items()
    ]
