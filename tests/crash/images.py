"""The fleet of the kill tests of images: two regions, each with a repository in one real registry."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from syncd.plan.phases import FlipPhase, PlacementPhase, ReleasePhase
from syncd.reconcile.views.verification import verify
from syncd.runtime.base import Runtime
from syncd.state.content import images, placements, versions
from syncd.state.db.schema import layer_uploads
from syncd.state.records import PlacedImage
from syncd.state.releases import releases
from syncd.state.serving import flips, live
from syncd.state.state import State
from syncd.targets.base import Depth
from syncd.wiring import runtimes_of, world_of

from tests.crash.driver import Driver
from tests.crash.effects import AFTER
from tests.crash.stage import Stage
from tests.crash.world import check_record
from tests.emulators.distribution import MANIFEST, Distribution
from tests.support.fleet import FUNCTION, MODEL, PLACES, Fleet, answered

IMAGED: Final = ("hangzhou", "singapore")


@dataclass
class ImageFleet(Fleet):
    """Regions whose functions have the model in their images; two, where nothing else is said."""

    host: str = ""
    imaged: tuple[str, ...] = IMAGED

    def repository(self, place: str) -> str:
        return f"{place}/{MODEL}"

    def _place(self, place: str, region: str) -> list[str]:
        if place not in self.imaged:
            return []
        told = super()._place(place, region)
        told[0] = (
            f'[targets.{place}]\nregion = "{region}"\nkind = "image"\n'
            f'repository = "{self.host}/{self.repository(place)}"\nbase = "{self.host}/bases/server:1.0"'
        )
        told[-2] = told[-2].replace('\nmount_dir = "/mnt/m"', "")
        return told

    def runtime(self, place: str) -> Runtime:
        return runtimes_of(self.config)[PLACES[place]]

    def served(self, place: str, function_version: str) -> tuple[str, str]:
        """The image of a published version, as it was set, and as the platform found it: repository and digest."""
        config = self._function(place).versions[function_version].running
        assert config.image is not None
        return config.config["customContainerConfig"]["image"], config.image


class ImageStage(Stage):
    """A stage whose registry of images is put back with the rest; `root` is where that keeps its blobs.

    `sent_whole` is how many chunks a release sends that nobody kills.
    """

    def __init__(self, base: Path, driver: Driver, registry: Distribution, root: Path) -> None:
        self.registry = registry
        self._root = root
        self.sent_whole = 0
        self.images = ImageFleet(base / "now", host=registry.origin.removeprefix("http://"))
        super().__init__(base, driver, fleet=self.images)

    def settle(self, *requests: str) -> None:
        super().settle(*requests)
        shutil.copytree(self._root, self.base / "blobs")

    def again(self) -> None:
        super().again()
        shutil.rmtree(self._root)
        shutil.copytree(self.base / "blobs", self._root)

    def check_held(self, wish: str) -> None:
        """Whatever an alias leads to is there, whole, and of a version; and none has moved before all are there."""
        known = {self.fleet.manifest(name).digest.hex: name for name in self.names}
        serves: set[str] = set()
        for place in IMAGED:
            for alias in ("prod", "prod-candidate"):
                version, weights = self.fleet.pointed(place, alias)
                assert not weights, f"{place}:{alias} sends a share to {weights}"
                assert version is not None, f"{place}:{alias} is gone"
                found = self.whole(place, self.images.served(place, version)[1].rpartition("@")[2])
                assert found in known, f"{place}:{alias} leads to {found}"
                serves |= {known[found]} if alias == "prod" else set()
        if wish in serves:
            for place in IMAGED:
                tags = self.registry.tags(self.images.repository(place))
                there = [self.whole(place, tag) for tag in tags]
                assert self.fleet.manifest(wish).digest.hex in there, f"an alias has moved, {place} has no image"

    def sent_again(self, first: list[str], second: list[str]) -> tuple[int, int]:
        """Chunks; on its way is one until its thread has noted that it is there."""
        last = {thread: line for line, _, thread in (line.partition("\t") for line in first)}
        twice = chunks(first) + chunks(second) - self.sent_whole
        return max(0, twice), sum(1 for line in last.values() if " PATCH " in line)

    def whole(self, place: str, reference: str) -> str:
        """The digest of the version in an image of which every blob is there, as whoever pulls it would find."""
        name = self.images.repository(place)
        with self.registry.client(name) as client:
            answer = client.get(f"/v2/{name}/manifests/{reference}", headers={"Accept": MANIFEST})
            assert answer.status_code == 200, f"{place}: {reference} cannot be pulled"
            document: dict[str, Any] = answer.json()
            for blob in (document["config"], *document["layers"]):
                body = client.get(f"/v2/{name}/blobs/{blob['digest']}").content
                assert f"sha256:{hashlib.sha256(body).hexdigest()}" == blob["digest"], f"{place}: {blob['digest']}"
        return str(document["annotations"]["syncd.digest"])

    def check_live(self, name: str) -> None:
        """The newest release is live everywhere, the record equals the world, and nothing is left over."""
        check_record(self.fleet, ReleasePhase.LIVE)
        manifest = self.fleet.manifest(name)
        state = State(self.fleet.url)
        try:
            with state.read() as conn:
                latest = releases.latest(conn, MODEL)
                assert latest is not None
                assert latest.version_id == versions.identity(manifest)
                placed = {p.target: p.phase for p in placements.of_version(conn, latest.version_id)}
                turned = {f.binding: (f.phase, f.to_version) for f in flips.of_release(conn, latest.id)}
                served = {row.binding: row for row in live.all(conn)}
                every = {image.target: image for image in images.of_version(conn, latest.version_id)}
                left = conn.execute(sa.select(layer_uploads)).all()
            wrong = [f for f in verify(world_of(self.fleet.config, state), MODEL, Depth.BYTES) if f.wrong]
        finally:
            state.close()
        assert not wrong, wrong
        assert not left, f"the record has uploads: {left}"
        assert placed == dict.fromkeys(IMAGED, PlacementPhase.SEALED)
        for place in IMAGED:
            version = served[f"serve-{place}"].function_version
            assert version is not None
            assert turned[f"serve-{place}"] == (FlipPhase.DONE, version)
            self._check_place(place, version, every[place], manifest.digest.hex)

    def _check_place(self, place: str, version: str, image: PlacedImage, digest: str) -> None:
        for alias in ("prod", "prod-candidate"):
            assert self.fleet.pointed(place, alias) == (version, {}), f"{place}:{alias}"
        set_to, found = self.images.served(place, version)
        assert set_to == image.reference.partition("@")[0], place
        assert found.endswith(f"@sha256:{image.digest}"), place
        tags = self.registry.tags(self.images.repository(place))
        assert len(tags) == len(self.names), f"{place} has {tags}"
        assert {self.whole(place, tag) for tag in tags} == {self.fleet.manifest(n).digest.hex for n in self.names}
        once = Counter(self.fleet.published(place).values())
        assert max(once.values()) == 1, f"{place} has one release published twice: {once}"
        answer = self.images.runtime(place).ask(FUNCTION, "prod", b"{}", 20.0)
        assert answered(answer) == digest, f"{place} serves {answer!r}"


def chunks(lines: list[str]) -> int:
    """How many the registry was given."""
    return sum(1 for line in lines if " PATCH " in line and line.partition("\t")[0].endswith(AFTER))
