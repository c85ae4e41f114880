"""A whole local cloud: OSS, Function Compute and NAS of several regions, and what a seed file puts there."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from syncd.localcloud.fc import LocalFc, Settings
from syncd.localcloud.oss.values import BucketEntry
from syncd.localcloud.server import LocalCloud


@dataclass
class Whole:
    """A local cloud with its functions. `start` before anything else; `stop` ends every function process too."""

    root: Path
    regions: Sequence[str]
    ports: Mapping[str, int] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        self.functions = LocalFc(self.nas_root, self.settings)
        self.cloud = LocalCloud(self.root, self.regions, ports=self.ports, fc=self.functions)

    @property
    def nas_root(self) -> Path:
        """Where the NAS servers lie: one directory per server host name."""
        return self.root / "nas"

    def start(self) -> None:
        """Serve every region. Raises OSError when a port is taken."""
        self.cloud.start()

    def stop(self) -> None:
        """End everything; the state stays on disk. May be repeated."""
        self.cloud.stop()

    def create_bucket(self, region: str, name: str) -> None:
        """Have a bucket. One that is there is left as it is."""
        store = self.cloud.oss[region].store
        with store.db.transaction():
            if store.buckets.get(name) is None:
                store.buckets.put(BucketEntry(name, self.cloud.clock()))

    def create_function(self, region: str, document: Mapping[str, Any]) -> None:
        """Have a function, given as CreateFunction's body. One of that name that is there is left as it is.

        Raises:
            FcError: The service refuses it.
        """
        self.functions.regions[region].have_function(document)

    def seed(self, path: Path) -> None:
        """Put there what a TOML file lists: [[buckets]] region, name; [[functions]] region and
        CreateFunction's body; [[nas]] server.

        Repeating it is harmless.

        Raises:
            ValueError: It is not TOML, or a region in it is not one of this cloud.
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
