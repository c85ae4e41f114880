"""Function Compute plugged into a local cloud: one service for each of its regions."""

from dataclasses import dataclass, field
from pathlib import Path

from syncd.localcloud.fc.region import FcRegion
from syncd.localcloud.fc.rules import Settings
from syncd.localcloud.http import Handler
from syncd.localcloud.server import RegionContext


@dataclass
class LocalFc:
    """What a local cloud is given as its `fc`; `regions` has each region's service once it has started.

    `nas_root` holds what NAS mounts lead to: `<mount target host>/<path>`, for all regions.
    """

    nas_root: Path
    settings: Settings = field(default_factory=Settings)
    regions: dict[str, FcRegion] = field(default_factory=dict, init=False)

    def __call__(self, context: RegionContext) -> Handler:
        """Start the region's service; it stops with the cloud."""
        region = FcRegion(
            region=context.region,
            account_id=context.account.account_id,
            root=context.root,
            credentials=context.account,
            oss=context.oss[context.region],
            nas_root=self.nas_root,
            faults=context.faults,
            counters=context.counters,
            settings=self.settings,
            clock=context.clock,
            oss_elsewhere=context.oss,
        )
        region.start()
        context.on_stop.append(region.stop)
        self.regions[context.region] = region
        return region.handle
