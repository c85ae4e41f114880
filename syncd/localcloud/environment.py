"""Local environment: OSS, Function Compute and NAS of several regions, with initial content from a seed file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from syncd.localcloud.fc import FunctionCompute, Settings
from syncd.localcloud.oss.storage.entries import BucketEntry
from syncd.localcloud.server import LocalCloud


@dataclass
class LocalEnvironment:
    """A local cloud with Function Compute and NAS. Call `start` first; `stop` also ends every function process."""

    root: Path
    regions: Sequence[str]
    ports: Mapping[str, int] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        self.functions = FunctionCompute(self.nas_root, self.settings)
        self.cloud = LocalCloud(self.root, self.regions, ports=self.ports, fc=self.functions)

    @property
    def nas_root(self) -> Path:
        """Root of the NAS file systems: one directory per server host name."""
        return self.root / "nas"

    def start(self) -> None:
        """Serve every region. Raises OSError when a port is taken."""
        self.cloud.start()

    def stop(self) -> None:
        """Stop every region; the state stays on disk. Idempotent."""
        self.cloud.stop()

    def create_bucket(self, region: str, name: str) -> None:
        """Create a bucket. An existing bucket stays unchanged."""
        store = self.cloud.oss[region].store
        with store.db.transaction():
            if store.buckets.get(name) is None:
                store.buckets.put(BucketEntry(name, self.cloud.clock()))

    def create_function(self, region: str, document: Mapping[str, Any]) -> None:
        """Create a function from CreateFunction's body. An existing function of that name stays unchanged.

        Raises:
            FcError: The document is invalid.
        """
        self.functions.regions[region].ensure_function(document)

    def seed(self, path: Path) -> None:
        """Create what a TOML file lists: [[buckets]] region, name; [[functions]] region and
        CreateFunction's body; [[nas]] server.

        Idempotent.

        Raises:
            ValueError: The file is not TOML, or names a region that this cloud does not have.
        """
        document = tomllib.loads(path.read_text())
        for bucket in document.get("buckets", ()):
            self.create_bucket(self._region(bucket), bucket["name"])
        for function in document.get("functions", ()):
            region = self._region(function)
            self.create_function(region, {key: value for key, value in function.items() if key != "region"})
        for server in document.get("nas", ()):
            (self.nas_root / server["server"]).mkdir(parents=True, exist_ok=True)

    def _region(self, entry: Mapping[str, Any]) -> str:
        region = entry.get("region")
        if region not in self.regions:
            raise ValueError(f"region {region!r} is not one of this cloud's: {', '.join(self.regions)}")
        return str(region)
