"""The kinds of registry, each a case of a test that is skipped by name where its program is missing."""

from __future__ import annotations

from typing import Final

import pytest

from tests.servers.sources import (
    DirectorySource,
    HubSource,
    IndexSource,
    MlflowSource,
    ModelScopeSource,
    OciSource,
    PaiSource,
    PrefixSource,
)

KINDS: Final = (
    DirectorySource.name,
    IndexSource.name,
    PrefixSource.name,
    ModelScopeSource.name,
    PaiSource.name,
    pytest.param(HubSource.name, marks=[pytest.mark.needs_olah, pytest.mark.needs_git]),
    pytest.param(OciSource.name, marks=[pytest.mark.needs_docker_registry, pytest.mark.needs_oras]),
    pytest.param(MlflowSource.name, marks=pytest.mark.needs_mlflow),
)
