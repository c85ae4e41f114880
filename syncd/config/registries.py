"""Registry settings: one class for each kind, all with models, filters, a poll interval and at most one secret."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from syncd.artifact.names import parse_version
from syncd.config.fields import (
    AbsolutePath,
    BucketTable,
    Endpoint,
    IndexUrl,
    ModelPattern,
    Prefix,
    Region,
    Seconds,
    SecondsOrNone,
    SecretField,
    Table,
    WorkspaceId,
    shown,
    wrong,
)
from syncd.errors import Invalid
from syncd.registry.rules.file_filters import FileFilter
from syncd.registry.rules.follow_rules import FollowRule, TagRule, parse_tagged
from syncd.registry.rules.semver import parse_range
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

ANY_MODEL: Final = ("*", "*/*")
WAYS: Final = ("alias", "tags", "versions", "tagged")
_TAGS: Final = re.compile(r"[A-Za-z0-9*][A-Za-z0-9._+*-]*")


def _alias(text: str) -> str:
    try:
        return parse_version(text)
    except Invalid as error:
        raise wrong(shown(text), 'expected the name of an alias such as "champion"') from error


def _tags(text: str) -> str:
    if not _TAGS.fullmatch(text):
        raise wrong(shown(text), 'expected a pattern of versions\' names such as "v*"')
    return text


def _range(text: str) -> str:
    try:
        parse_range(text)
    except Invalid as error:
        raise wrong(shown(text), 'expected bounds of semantic versions such as ">=1.2,<2"') from error
    return text


def _tagged(text: str) -> str:
    try:
        parse_tagged(text)
    except Invalid as error:
        raise wrong(shown(text), 'expected a tag and its value such as "validation_status=approved"') from error
    return text


def _file_pattern(text: str) -> str:
    parts = text.removesuffix("/").split("/")
    if any(part in {"", ".", ".."} or "\\" in part or not part.isprintable() for part in parts):
        raise wrong(shown(text), 'expected a pattern of files such as "*.bin", "unet/*.bin" or "onnx/"')
    return text


_FilePatterns = Annotated[tuple[Annotated[str, AfterValidator(_file_pattern)], ...], Field(strict=False)]


class FollowSettings(Table):
    """Follow rule: the version of some models that a poll releases, by at most one of four ways; none: the newest.

    `model_tagged` limits the rule to models with that tag.
    """

    models: Annotated[tuple[ModelPattern, ...], Field(strict=False, min_length=1)] = ANY_MODEL
    alias: Annotated[str, AfterValidator(_alias)] | None = None
    tags: Annotated[str, AfterValidator(_tags)] | None = None
    versions: Annotated[str, AfterValidator(_range)] | None = None
    tagged: Annotated[str, AfterValidator(_tagged)] | None = None
    model_tagged: Annotated[str, AfterValidator(_tagged)] | None = None

    @property
    def rule(self) -> FollowRule:
        """The values for the registry package."""
        bounds = parse_range(self.versions) if self.versions else None
        tagged, of_model = _parsed(self.tagged), _parsed(self.model_tagged)
        return FollowRule(self.models, self.alias or "", self.tags or "", bounds, tagged, of_model)

    def named(self) -> tuple[str, ...]:
        """The ways to choose that are set."""
        return tuple(key for key in WAYS if getattr(self, key) is not None)

    def by_tag(self) -> tuple[str, ...]:
        """The set ways that need a registry with tags on versions and models."""
        return tuple(key for key in ("tagged", "model_tagged") if getattr(self, key) is not None)


def _parsed(text: str | None) -> TagRule | None:
    return None if text is None else parse_tagged(text)


class FilterTable(Table):
    """Filters of a registry. The first rule of `follow` that selects a model applies."""

    follow: Annotated[tuple[FollowSettings, ...], Field(strict=False)] = ()
    take: _FilePatterns = ()  # empty: every file
    leave: _FilePatterns = ()

    @property
    def taking(self) -> FileFilter:
        """The values for the registry package."""
        return FileFilter(self.take, self.leave)


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
