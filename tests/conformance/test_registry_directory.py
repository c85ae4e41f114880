"""The conformance suite, bound to a directory with each kind of marker."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from syncd.registry.base import Registry
from syncd.registry.settings import DirectorySettings
from syncd.registry.sources.directory import DirectoryRegistry

from tests.conformance.registry import RegistryConformance
from tests.unit.registry.trees import mark, write


class DirectoryConformance(RegistryConformance):
    """The test writes the versions itself; each is a minute newer."""

    marker = "READY"

    @pytest.fixture
    def registry(self, tmp_path: Path) -> Registry:
        self.root = tmp_path / "models"
        self.root.mkdir()
        self.written_at_s = 1_700_000_000
        settings = DirectorySettings(self.root, models=("*", "*/*"), settle_s=5)
        return DirectoryRegistry(settings, now=lambda: self.written_at_s + 3600)

    def publish(self, model: str, version: str, files: Mapping[str, bytes]) -> None:
        self.begin(model, version, files)
        marker = mark(self.root / model / version, self.marker)
        self.written_at_s += 60
        os.utime(marker, (self.written_at_s, self.written_at_s))

    def begin(self, model: str, version: str, files: Mapping[str, bytes]) -> None:
        self.written_at_s += 60
        write(self.root / model / version, files, mtime_s=self.written_at_s)

    def overwrite(self, model: str, version: str, path: str, data: bytes) -> None:
        self.written_at_s += 60
        write(self.root / model / version, {path: data}, mtime_s=self.written_at_s)

    def cut_off(self) -> None:
        shutil.rmtree(self.root)


class TestReady(DirectoryConformance):
    pass


class TestSuccess(DirectoryConformance):
    marker = "_SUCCESS"


class TestSums(DirectoryConformance):
    marker = "SHA256SUMS"


class TestManifest(DirectoryConformance):
    marker = "MANIFEST.json"
    changed_is_unfinished = True


class TestOurManifest(DirectoryConformance):
    marker = "syncd/manifest/v1"
    changed_is_unfinished = True
