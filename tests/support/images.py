"""Fleets of images: a region or two, each with a repository of its own in one registry, and what is pulled from it."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from syncd.artifact.manifest import SEAL_PATH
from syncd.errors import Failed
from syncd.oci.build import BuildSettings
from syncd.oci.references import parse_image
from syncd.plan.binding import Binding, BoundModel, MountMode
from syncd.plan.phases import ReleasePhase
from syncd.plan.topology import Topology
from syncd.reconcile.requests.operations import publish
from syncd.state.content import images, versions
from syncd.state.records import PlacedImage, Release
from syncd.targets.image import ImageSettings, ImageTarget
from syncd.values.function import Change

from tests.emulators.distribution import Distribution
from tests.support.rooms import DRAW, SDXL, Site, World
from tests.support.sources import content
from tests.unit.oci.kitchen import BASE, repository

HZ, SG = "img-hz", "img-sg"
REGIONS: Final = {HZ: "hangzhou", SG: "singapore"}
SHARED: Final = {"shared.bin": content("shared", 120_000)}
BINDINGS: Final = tuple(
    Binding(
        f"draw-{target[-2:]}",
        region,
        DRAW,
        "prod",
        "next",
        (BoundModel(SDXL, target, MountMode.IMAGE, "", "SDXL_DIGEST", "SDXL_PATH", "SDXL_VERSION"),),
    )
    for target, region in REGIONS.items()
)
FLEET: Final = Topology(
    bindings={binding.name: binding for binding in BINDINGS},
    places={},
    regions=REGIONS | {region: region for region in REGIONS.values()},
    registries={"models": ("*",)},
    images=frozenset(REGIONS),
)
SMALL: Final = BuildSettings(chunk_bytes=1 << 16, layers_in_flight=1, alone_bytes=50_000)
ONE: Final = replace(FLEET, bindings={"draw-hz": FLEET.bindings["draw-hz"]}, images=frozenset({"img-hz"}))


@dataclass
class Gallery:
    """The repositories of one case, below `name`. `origin` may be that of something in front of the registry."""

    registry: Distribution
    name: str
    origin: str = ""
    settings: BuildSettings = SMALL
    base: str = f"{BASE}:1.0"
    directory: str = "/models/{model}"
    pulled: dict[str, Mapping[str, bytes]] = field(default_factory=dict)

    @property
    def host(self) -> str:
        return (self.origin or self.registry.origin).removeprefix("http://")

    def place(self, target: str) -> str:
        """The repository of a target, without its host."""
        return f"{self.name}/{target}"

    def target(self, name: str) -> ImageTarget:
        origin = f"http://{self.host}"
        base = parse_image(f"{self.host}/{self.base}")
        settings = ImageSettings(base, self.directory, f"{self.host}/{self.place(name)}", self.settings)
        below = repository(origin, base.repository, writes=False)
        return ImageTarget(name, repository(origin, self.place(name)), below, settings)

    def tags(self, target: str) -> list[str]:
        return sorted(self.registry.tags(self.place(target)))

    def files(self, reference: str) -> Mapping[str, bytes]:
        """What lies in an image, as whoever runs it finds it. The bytes are those of the registry."""
        if reference not in self.pulled:
            self.pulled[reference] = self._pull(reference)
        return self.pulled[reference]

    def _pull(self, reference: str) -> Mapping[str, bytes]:
        name = reference.partition("/")[2].partition("@")[0].rpartition(":")[0]
        wanted = reference.partition("@")[2]
        found: dict[str, bytes] = {}
        with self.registry.client(name) as client:
            for digest in (wanted, reference.partition("@")[0].rpartition(":")[2]):
                accepted = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
                answer = client.get(f"/v2/{name}/manifests/{digest}", headers=accepted)
                if answer.status_code != 200 or f"sha256:{hashlib.sha256(answer.content).hexdigest()}" != wanted:
                    raise Failed(f"{reference} cannot be pulled: {answer.status_code}")
            for layer in answer.json()["layers"]:
                blob = client.get(f"/v2/{name}/blobs/{layer['digest']}").content
                assert f"sha256:{hashlib.sha256(blob).hexdigest()}" == layer["digest"]
                with tarfile.open(fileobj=io.BytesIO(blob)) as archive:
                    for member in archive:
                        opened = archive.extractfile(member)
                        if opened is not None:
                            found[f"/{member.name}"] = opened.read()
        return found

    def answer(self, change: Change) -> bytes:
        """What a function says that hashes what its image has where its variables say."""
        path = change.environment.get("SDXL_PATH")
        if not change.image or path is None:
            return b"[]"
        files = self.files(change.image)
        sealed = files[f"{path}/{SEAL_PATH}"]
        for file in json.loads(sealed)["files"]:
            data = files[f"{path}/{file['path']}"]
            assert hashlib.sha256(data).hexdigest() == file["sha256"], file
        return json.dumps([hashlib.sha256(sealed).hexdigest()]).encode()

    def serve(self, world: World) -> None:
        """Have the functions of a world answer out of images."""
        for runtime in world.runtimes.values():
            runtime.answers = self.answer

    def context(self, topology: Topology = ONE) -> dict[str, Any]:
        """The rooms that are others than in `tests.support.rooms`."""
        return {"topology": topology, "images": {name: self.target(name) for name in topology.images}, "targets": {}}


Wrap = Callable[[Any], Any]


def wrapped(target: ImageTarget, wrap: Wrap) -> ImageTarget:
    """A target whose requests go through something else."""
    target._repository._wire.http = wrap(target._repository._wire.http)  # type: ignore[misc]  # the one place
    return target


def smaller(limit_bytes: int) -> BuildSettings:
    return replace(SMALL, limit_bytes=limit_bytes)


def live(here: Site, version: str) -> Release:
    """Publish a version, have it be there before, and see it live."""
    if not (here.world.root / SDXL / version).exists():
        here.world.deliver(SDXL, version, more=SHARED)
    release = publish(here.requester, SDXL, version)
    here.settle(patient=True)
    assert here.release(release.id).phase is ReleasePhase.LIVE, here.release(release.id).reason
    here.assert_record_is_true()
    return release


def image(here: Site, version: str, target: str = HZ) -> PlacedImage:
    """The image of a version over the base that it has now."""
    with here.state.read() as conn:
        found = versions.find(conn, SDXL, version)
        assert found is not None
        placed = images.find(conn, found.id, target)
    assert placed is not None
    return placed


def baked(here: Site, release: Release) -> list[Mapping[str, object]]:
    """What a release has pushed."""
    return [event.detail for event in here.events(release.id) if event.kind == "image.baked"]
