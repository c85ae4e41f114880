"""Registry settings: one class for each kind, all with models, a poll interval and at most one secret."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from syncd.config.bucket import BucketTable
from syncd.config.fields import (
    AbsolutePath,
    Endpoint,
    IndexUrl,
    ModelPattern,
    Prefix,
    Region,
    Seconds,
    SecondsOrNone,
    SecretField,
    WorkspaceId,
    shown,
    wrong,
)
from syncd.config.follow import FilterTable
from syncd.config.table import Table
from syncd.registry.settings import (
    DirectorySettings,
    HubSettings,
    IndexSettings,
    MlflowSettings,
    ModelScopeSettings,
    OciSettings,
    PaiSettings,
    PrefixSettings,
)
from syncd.secret import Secret


def _of_one_owner(pattern: str) -> str:
    """A pattern of models of one owner: a Hub has millions of models, and lists them by owner."""
    if "*" in pattern.partition("/")[0]:
        raise wrong(shown(pattern), 'expected an owner before the pattern such as "my-team/*"')
    return pattern


def _instance(text: str) -> str:
    if not re.fullmatch(r"cri-[a-z0-9]+", text):
        raise wrong(shown(text), 'expected an instance\'s id such as "cri-0123456789abcdef"')
    return text


_Patterns = Annotated[tuple[ModelPattern, ...], Field(strict=False, min_length=1)]
_OwnedPatterns = Annotated[
    tuple[Annotated[ModelPattern, AfterValidator(_of_one_owner)], ...], Field(strict=False, min_length=1)
]


class _Polled(FilterTable):
    """Settings that every registry has."""

    models: _Patterns
    poll_s: Seconds = 30.0
    jitter_s: SecondsOrNone = 5.0

    @property
    def secret(self) -> Secret | None:
        """The secret of this registry, to keep out of output."""
        return None


class DirectoryRegistrySettings(_Polled):
    """A registry that is a directory."""

    kind: Literal["directory"]
    models: _Patterns = ("*",)
    path: AbsolutePath
    settle_s: SecondsOrNone = 2.0

    @property
    def directory(self) -> DirectorySettings:
        """The values for the registry package."""
        return DirectorySettings(root=self.path, models=self.models, settle_s=self.settle_s)


class HttpRegistrySettings(_Polled):
    """A JSON index at `url`. `token` is a user's password where `user` is set, and a Bearer token where not."""

    kind: Literal["http"]
    url: IndexUrl
    user: str = ""
    token: SecretField | None = None

    @property
    def index(self) -> IndexSettings:
        """The values for the registry package."""
        return IndexSettings(self.url, self.models)

    @property
    def secret(self) -> Secret | None:
        """The secret of this registry, to keep out of output."""
        return self.token


class HubRegistrySettings(_Polled):
    """The Hugging Face Hub or a mirror of it. With `branch`, its head is a version too."""

    kind: Literal["huggingface"]
    models: _OwnedPatterns
    poll_s: Seconds = 300.0
    endpoint: Endpoint = "https://huggingface.co"
    branch: str = ""
    token: SecretField | None = None

    @property
    def hub(self) -> HubSettings:
        """The values for the registry package."""
        return HubSettings(self.endpoint, self.models, self.branch)

    @property
    def secret(self) -> Secret | None:
        """The secret of this registry, to keep out of output."""
        return self.token


class ModelScopeRegistrySettings(_Polled):
    """ModelScope. With `region`, files come from that region's own store."""

    kind: Literal["modelscope"]
    models: _OwnedPatterns
    poll_s: Seconds = 300.0
    endpoint: Endpoint = "https://www.modelscope.cn"
    region: Region | None = None
    token: SecretField | None = None

    @property
    def modelscope(self) -> ModelScopeSettings:
        """The values for the registry package."""
        return ModelScopeSettings(self.endpoint, self.models, self.region or "")

    @property
    def secret(self) -> Secret | None:
        """The secret of this registry, to keep out of output."""
        return self.token


class AcrTable(Table):
    """An instance of Container Registry Enterprise Edition, which issues temporary passwords for an access key."""

    instance: Annotated[str, AfterValidator(_instance)]
    region: Region
    credentials: str
    api: Endpoint | None = None

    @property
    def address(self) -> str:
        """The URL of its region's API."""
        return self.api or f"https://cr.{self.region}.aliyuncs.com"


class OciRegistrySettings(_Polled):
    """An image repository; a model is the repository `<prefix><model>`."""

    kind: Literal["oci"]
    endpoint: Endpoint
    prefix: Prefix = ""
    user: str = ""
    password: SecretField | None = None
    acr: AcrTable | None = None
    poll_s: Seconds = 60.0

    @model_validator(mode="after")
    def _one_login(self) -> OciRegistrySettings:
        if self.acr is not None and (self.user or self.password is not None):
            raise wrong("`acr` beside a user or a password", "expected one of them")
        return self

    @property
    def oci(self) -> OciSettings:
        """The values for the registry package."""
        return OciSettings(self.endpoint, self.models, self.prefix)

    @property
    def secret(self) -> Secret | None:
        """The secret of this registry, to keep out of output."""
        return self.password


class MlflowRegistrySettings(_Polled):
    """An MLflow server. `token` is a user's password where `user` is set, and a Bearer token where not."""

    kind: Literal["mlflow"]
    endpoint: Endpoint
    ready_file: str = "MLmodel"
    user: str = ""
    token: SecretField | None = None

    @property
    def mlflow(self) -> MlflowSettings:
        """The values for the registry package."""
        model_tags = any(follow.model_tagged is not None for follow in self.follow)
        return MlflowSettings(self.endpoint, self.models, self.ready_file, model_tags)

    @property
    def secret(self) -> Secret | None:
        """The secret of this registry, to keep out of output."""
        return self.token


class OssRegistrySettings(_Polled, BucketTable):
    """A prefix of a bucket; versions are `<prefix><model>/<version>/`."""

    kind: Literal["oss"]
    poll_s: Seconds = 60.0

    @property
    def oss(self) -> PrefixSettings:
        """The values for the registry package."""
        return PrefixSettings(self.bucket, self.region, self.prefix, self.models)


class PaiRegistrySettings(_Polled):
    """A workspace of PAI. `endpoint` is that of its API, `oss_endpoint` that of the region's buckets."""

    kind: Literal["pai"]
    endpoint: Endpoint
    oss_endpoint: Endpoint
    region: Region
    workspace: WorkspaceId
    credentials: str
    poll_s: Seconds = 60.0

    @property
    def pai(self) -> PaiSettings:
        """The values for the registry package."""
        return PaiSettings(self.endpoint, self.workspace, self.region, self.models)


RegistrySettings = (
    DirectoryRegistrySettings
    | HttpRegistrySettings
    | HubRegistrySettings
    | MlflowRegistrySettings
    | ModelScopeRegistrySettings
    | OciRegistrySettings
    | OssRegistrySettings
    | PaiRegistrySettings
)
KINDS: dict[str, type[RegistrySettings]] = {
    "directory": DirectoryRegistrySettings,
    "http": HttpRegistrySettings,
    "huggingface": HubRegistrySettings,
    "mlflow": MlflowRegistrySettings,
    "modelscope": ModelScopeRegistrySettings,
    "oci": OciRegistrySettings,
    "oss": OssRegistrySettings,
    "pai": PaiRegistrySettings,
}


def registry_at(registries: Iterable[RegistrySettings], origin: str, repository: str) -> OciRegistrySettings | None:
    """The registry of an image repository; of several, the one with the longest matching prefix."""
    images = [each for each in registries if isinstance(each, OciRegistrySettings) and each.endpoint == origin]
    there = [each for each in images if repository.startswith(each.prefix)]
    return max(there, key=lambda each: len(each.prefix), default=None)
