"""A registry over a PAI workspace, for tests."""

from __future__ import annotations

from functools import cache

from syncd.registry.bucket_objects import ObjectSource
from syncd.registry.settings import AccessKey, PaiSettings
from syncd.registry.sources.pai import PaiRegistry
from syncd.registry.sources.pai_workspace import SdkWorkspace
from syncd.secret import Secret

from tests.emulators.pai import WORKSPACE, PaiWeb
from tests.support.clouds import KEY_ID, KEY_SECRET, REGION, RawBucket
from tests.unit.registry.webs import ONCE

KEY = AccessKey(KEY_ID, Secret(KEY_SECRET))


def settings_of(pai: PaiWeb, *models: str, workspace: str = WORKSPACE) -> PaiSettings:
    return PaiSettings(pai.web.origin, workspace, REGION, models or ("*",))


def registry_of(pai: PaiWeb, bucket: RawBucket, *models: str) -> PaiRegistry:
    """It reads its bucket as syncd does, without retries."""
    settings = settings_of(pai, *models)

    @cache
    def of(name: str) -> ObjectSource:
        return bucket.store(bucket=name)

    return PaiRegistry(settings, SdkWorkspace(settings, KEY, ONCE), of)
