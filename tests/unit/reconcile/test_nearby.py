"""A registry in a bucket of the target's own region: its bytes are read for their proof, and copied, not sent."""

from __future__ import annotations

import random
from collections.abc import Iterator
from hashlib import sha256
from typing import Final

import pytest
from syncd.localcloud.faults import FaultRule, FlipBit, Respond
from syncd.localcloud.server import LocalCloud
from syncd.plan.phases import PlacementPhase
from syncd.reconcile.requests.operations import publish
from syncd.registry.settings import PrefixSettings
from syncd.registry.sources.oss_prefix import PrefixRegistry
from syncd.state.state import State
from syncd.targets.versioned_tree import TreeTarget
from syncd.transfer import CopySettings

from tests.support.clouds import RawBucket, cloud_at
from tests.support.rooms import SDXL, Site, World, site

HERE, AWAY = "hangzhou", "singapore"  # as the regions of the fleet are called
PART: Final = 128 << 10
WEIGHTS: Final = random.Random(7).randbytes(5 * PART + 100_000)
FILES: Final = {"weights.bin": WEIGHTS, "one-part.bin": WEIGHTS[: PART - 1], "config.json": b"{}"}
SENT: Final = len(FILES["config.json"]) + 100_000  # too small to be copied: a small file, and a file's last part


class Scene:
    """A registry in a bucket in one region, and a bucket in each."""

    def __init__(self, cloud: LocalCloud, world: World, state: State) -> None:
        self.cloud = cloud
        self.registry = RawBucket(cloud.endpoint(HERE), region=HERE)
        self.buckets = {
            "hz": RawBucket(cloud.endpoint(HERE), region=HERE),
            "sg": RawBucket(cloud.endpoint(AWAY), region=AWAY),
        }
        listed = "".join(f"{sha256(data).hexdigest()}  {path}\n" for path, data in FILES.items())
        for path, data in [*FILES.items(), ("SHA256SUMS", listed.encode())]:
            self.registry.write(f"raw/{SDXL}/v1/{path}", data)
        settings = PrefixSettings(self.registry.name, HERE, "raw/", ("*",))
        self.site: Site = site(
            world,
            state,
            registries={"models": PrefixRegistry(settings, self.registry.store(prefix="raw/"))},
            targets={name: TreeTarget(name, bucket.store()) for name, bucket in self.buckets.items()},
            transfer=CopySettings(part_bytes=PART, files_in_flight=1, parts_in_flight=2),
        )
        cloud.counters.clear()

    def placed(self) -> None:
        publish(self.site.requester, SDXL, "v1")
        self.site.settle()
        phases = {name: placed.phase for name, placed in self.site.placements(SDXL, "v1").items()}
        assert phases == {"hz": PlacementPhase.SEALED, "sg": PlacementPhase.SEALED}
        for bucket in self.buckets.values():
            (key,) = [key for key in bucket.all_keys() if key.endswith("weights.bin")]
            assert bucket.read(key) == WEIGHTS

    def sent(self, name: str) -> int:
        """Bytes of the model's files that syncd sent to a bucket."""
        calls = self.cloud.counters.calls(resource_prefix=self.buckets[name].name)
        files = [c for c in calls if c.resource.endswith(tuple(FILES)) and c.operation in {"UploadPart", "PutObject"}]
        return sum(call.bytes_in for call in files if call.status == 200)

    def copied(self, name: str) -> int:
        return self.cloud.counters.bytes_copied("UploadPartCopy", self.buckets[name].name)


@pytest.fixture
def scene(world: World, usual_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    state = State(usual_database_url, now=world.now)
    with cloud_at(tmp_path_factory.mktemp("cloud"), HERE, AWAY) as cloud:
        yield Scene(cloud, world, state)
    state.close()


def test_what_lies_in_the_same_region_is_copied_and_the_other_region_is_sent_to(scene: Scene) -> None:
    scene.placed()
    size = sum(map(len, FILES.values()))
    assert scene.copied("hz") == size - SENT
    assert scene.sent("hz") == SENT
    assert (scene.copied("sg"), scene.sent("sg")) == (0, size)


def test_it_is_read_once_all_the_same(scene: Scene) -> None:
    scene.placed()
    reads = scene.cloud.counters.calls("GetObject", f"{scene.registry.name}/raw/{SDXL}/v1/weights.bin")
    # The first one checks what kind of file it is, and is broken off after the head; the copy reads it once.
    assert len(reads) == 2
    assert reads[-1].bytes_out == len(WEIGHTS)


def test_without_permission_it_is_sent_and_not_asked_for_each_part(scene: Scene) -> None:
    denied = Respond(403, "AccessDenied", "this user may not read the registry's bucket")
    scene.cloud.faults.add(FaultRule("oss", denied, "UploadPartCopy", times=0))
    scene.placed()
    assert scene.sent("hz") == sum(map(len, FILES.values()))
    assert 1 <= scene.cloud.counters.count("UploadPartCopy") <= 2  # those that were on their way together


def test_what_is_copied_right_but_was_read_wrong_is_not_made_visible(scene: Scene) -> None:
    scene.cloud.faults.add(
        FaultRule("oss", FlipBit(1000), "GetObject", f"{scene.registry.name}/.*weights.bin", times=1, skip=1)
    )
    publish(scene.site.requester, SDXL, "v1")
    scene.site.settle()
    assert not any(key.endswith("weights.bin") for key in scene.buckets["hz"].all_keys())
