"""Wiring of model registries: each kind with its filters, its client and its limits.

The adapters are imported on use: most commands read no registry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Final

from syncd.config import (
    Config,
    DirectoryRegistrySettings,
    HttpRegistrySettings,
    HubRegistrySettings,
    MlflowRegistrySettings,
    ModelScopeRegistrySettings,
    OciRegistrySettings,
    OssRegistrySettings,
    PaiRegistrySettings,
    RegistrySettings,
)
from syncd.config.fields import BucketTable
from syncd.errors import Invalid
from syncd.lazy_mapping import LazyMapping
from syncd.wiring_images import login_of
from syncd.wiring_stores import bucket_of

if TYPE_CHECKING:
    from syncd.registry.base import Registry
    from syncd.registry.rules.filtered import Source
    from syncd.registry.settings import Limits
    from syncd.store.base import Store

_BUCKETS_MAX: Final = 16  # per workspace, each with its own connections


def registries_of(config: Config) -> Mapping[str, Registry]:
    """The registries by name, each with its filters, created on first use."""
    return LazyMapping({name: partial(_filtered, config, name) for name in config.registries})


def _filtered(config: Config, name: str) -> Registry:
    from syncd.registry.rules.filtered import FilteredRegistry  # noqa: PLC0415

    settings = config.registries[name]
    rules = [each.rule for each in settings.follow]
    return FilteredRegistry(_registry(config, settings), rules, settings.taking, _limits(config))


def _limits(config: Config) -> Limits:
    from syncd.registry.settings import Limits  # noqa: PLC0415

    return Limits(config.transfer.files_max, config.transfer.version_bytes_max)


def _registry(config: Config, settings: RegistrySettings) -> Source:
    if isinstance(settings, DirectoryRegistrySettings):
        from syncd.registry.sources.directory import DirectoryRegistry  # noqa: PLC0415

        return DirectoryRegistry(replace(settings.directory, limits=_limits(config)))
    if isinstance(settings, OssRegistrySettings):
        from syncd.registry.sources.oss_prefix import PrefixRegistry  # noqa: PLC0415

        return PrefixRegistry(settings.oss, _retrying(source_of(config, settings)))
    if isinstance(settings, PaiRegistrySettings):
        return _workspace(config, settings)
    return _web_registry(config, settings, config.transfer.stall_s)


def _workspace(config: Config, settings: PaiRegistrySettings) -> Source:
    """Raises Invalid: The SDK is not installed."""
    from syncd.registry.settings import AccessKey  # noqa: PLC0415
    from syncd.registry.sources.pai import PaiRegistry  # noqa: PLC0415

    try:
        from syncd.registry.sources.pai_workspace import SdkWorkspace  # noqa: PLC0415
    except ModuleNotFoundError as error:
        hint = "pip install 'syncd[server,pai]'"
        raise Invalid("a registry of kind 'pai' needs an SDK that is not installed", hint=hint) from error
    key = config.credentials[settings.credentials]
    asked = SdkWorkspace(settings.pai, AccessKey(key.access_key_id, key.access_key_secret, key.security_token))

    @lru_cache(maxsize=_BUCKETS_MAX)
    def bucket(name: str) -> Store:
        found = BucketTable(
            region=settings.region, endpoint=settings.oss_endpoint, bucket=name, credentials=settings.credentials
        )
        return _retrying(bucket_of(config, found, _connections(config)))

    return PaiRegistry(settings.pai, asked, bucket)


def _web_registry(
    config: Config,
    settings: HttpRegistrySettings
    | HubRegistrySettings
    | MlflowRegistrySettings
    | ModelScopeRegistrySettings
    | OciRegistrySettings,
    timeout_s: float,
) -> Source:
    from syncd.http.auth import CookieAuth, NoAuth, auth_of  # noqa: PLC0415
    from syncd.http.client import HttpClient, HttpSettings, origin_of  # noqa: PLC0415
    from syncd.registry.oci import auth  # noqa: PLC0415
    from syncd.registry.oci import registry as oci_registry  # noqa: PLC0415
    from syncd.registry.sources import huggingface, index, mlflow, modelscope  # noqa: PLC0415

    if isinstance(settings, HttpRegistrySettings):
        reached = HttpSettings(origin_of(settings.url), timeout_s)
        return index.IndexRegistry(settings.index, HttpClient(reached, auth_of(settings.user, settings.token)))
    reached = HttpSettings(settings.endpoint, timeout_s)
    if isinstance(settings, HubRegistrySettings):
        access = auth_of("", settings.token)
        return huggingface.HubRegistry(settings.hub, HttpClient(reached, access, huggingface.explain))
    if isinstance(settings, MlflowRegistrySettings):
        access = auth_of(settings.user, settings.token)
        return mlflow.MlflowRegistry(settings.mlflow, HttpClient(reached, access, mlflow.explain))
    if isinstance(settings, ModelScopeRegistrySettings):
        session = NoAuth() if settings.token is None else CookieAuth(settings.token, modelscope.COOKIE)
        return modelscope.ModelScopeRegistry(settings.modelscope, HttpClient(reached, session, modelscope.explain))
    access = auth.OciAuth(settings.endpoint, login_of(config, settings))
    return oci_registry.OciRegistry(settings.oci, HttpClient(reached, access))


def _retrying(store: Store) -> Store:
    """A registry's store. Its files are opened again by the copy that reads them."""
    from syncd import watchdog  # noqa: PLC0415
    from syncd.retry import Pace, PacedCaller, Retry  # noqa: PLC0415
    from syncd.store.retrying import RetryingStore  # noqa: PLC0415

    return RetryingStore(store, PacedCaller(Retry(), Pace(), watchdog.wait), resumes_streams=False)


def source_of(config: Config, settings: OssRegistrySettings) -> Store:
    """A store with the registry's prefix as its root. A daemon only reads it; `publish --from` writes versions."""
    return bucket_of(config, settings, _connections(config))


def _connections(config: Config) -> int:
    """Of a bucket that is read: one for each file and call beside it, and those for the parts of files."""
    return 2 * config.transfer.files_in_flight + config.transfer.streams_per_host
