"""Wiring of stores: buckets of OSS, and directories of a NAS.

The adapters are imported on use: most commands read no file of a model.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from syncd.config import Config, NasTargetSettings, OssTargetSettings
from syncd.config.fields import BucketTable

if TYPE_CHECKING:
    from syncd.store.base import Store
    from syncd.store.oss.store import OssStore
    from syncd.values.bucket import BucketFacts


def store_of(config: Config, settings: OssTargetSettings | NasTargetSettings) -> Store:
    """The store of a target that holds trees of files."""
    if isinstance(settings, NasTargetSettings):
        from syncd.store.nas.store import NasSettings, NasStore  # noqa: PLC0415

        return NasStore(NasSettings(root=settings.path, marker=settings.mount_marker or None))
    return bucket_of(config, settings, config.transfer.parts_in_flight)


def bucket_of(config: Config, settings: BucketTable, at_once: int) -> OssStore:
    """A store with the settings' prefix as its root."""
    from syncd.store.oss.store import Credentials, OssSettings, OssStore  # noqa: PLC0415

    key = config.credentials[settings.credentials]
    return OssStore(
        OssSettings(
            endpoint=settings.endpoint,
            region=settings.region,
            bucket=settings.bucket,
            prefix=settings.prefix,
            credentials=partial(Credentials, key.access_key_id, key.access_key_secret, key.security_token),
            read_timeout_s=config.transfer.stall_s,
            connections_max=max(16, at_once),
        )
    )


def inside(config: Config, region: str) -> Config:
    """The configuration as a process inside `region` uses it: OSS there is reached by its internal endpoint."""
    targets = {
        name: target.model_copy(update={"endpoint": target.internal_endpoint})
        if isinstance(target, OssTargetSettings) and target.region == region and target.internal_endpoint
        else target
        for name, target in config.targets.items()
    }
    return replace(config, targets=targets)


def bucket_facts(config: Config, target: str) -> BucketFacts | None:
    """What the bucket of a target reports of itself; None for a target that is none. Raises as the store does."""
    settings = config.targets[target]
    if not isinstance(settings, OssTargetSettings):
        return None
    return bucket_of(config, settings, 1).bucket.facts()
