"""What is wanted of a registry, in the passes: what is followed, and what stays what it was published as."""

from __future__ import annotations

from syncd.artifact.names import ModelName
from syncd.reconcile.requests.operations import publish
from syncd.registry.base import Registry
from syncd.registry.rules.file_filters import EVERYTHING, FileFilter
from syncd.registry.rules.filtered import FilteredRegistry
from syncd.registry.rules.follow_rules import FollowRule
from syncd.registry.settings import DirectorySettings
from syncd.registry.sources.directory import DirectoryRegistry
from syncd.state.content import versions
from syncd.values.source import Revision

from tests.support.rooms import SDXL, Site, World, look


class Named(DirectoryRegistry):
    """A directory with an alias, as other registries have."""

    champion = "v1"

    def resolve(self, model: ModelName, ref: str, taking: FileFilter = EVERYTHING) -> Revision:
        return super().resolve(model, self.champion if ref == "champion" else ref, taking)


def use(here: Site, registry: Registry) -> None:
    object.__setattr__(here.context, "registries", {"models": registry})


def wished(here: Site) -> list[str]:
    found = [release.ref for release in look(here.context, "models", auto_release=True)]
    here.settle()
    return found


def test_an_alias_is_released_whenever_it_was_moved_also_back(here: Site, world: World) -> None:
    named = Named(DirectorySettings(world.root, settle_s=0.0))
    use(here, FilteredRegistry(named, [FollowRule(("*",), alias="champion")]))
    for version in ("v1", "v2", "v3"):
        world.deliver(SDXL, version)
    assert wished(here) == ["v1"]
    assert wished(here) == []
    named.champion = "v2"
    assert wished(here) == ["v2"]
    named.champion = "v1"
    assert wished(here) == ["v1"]
    assert wished(here) == []


def test_what_a_person_published_beside_the_alias_stays(here: Site, world: World) -> None:
    use(
        here,
        FilteredRegistry(Named(DirectorySettings(world.root, settle_s=0.0)), [FollowRule(("*",), alias="champion")]),
    )
    for version in ("v1", "v2"):
        world.deliver(SDXL, version)
    assert wished(here) == ["v1"]
    publish(here.requester, SDXL, "v2")
    here.settle()
    assert wished(here) == []


def test_a_changed_rule_for_files_is_no_changed_version(here: Site, world: World) -> None:
    world.deliver(SDXL, "v1", more={"notes.md": b"1"})
    use(here, FilteredRegistry(world.registry, files=FileFilter(leave=("*.md",))))
    publish(here.requester, SDXL, "v1")
    here.settle()
    served = here.digest(SDXL, "v1")
    everything = FilteredRegistry(world.registry)
    use(here, everything)
    assert wished(here) == []
    publish(here.requester, SDXL, "v1")
    here.settle()
    assert here.digest(SDXL, "v1") == served
    assert here.world.serves("singapore") == [served]
    with here.state.read() as conn:
        found = versions.find(conn, SDXL, "v1")
        assert found is not None
        assert found.quarantined == ""
        assert [entry.path for entry in versions.manifest(conn, found.id).entries if entry.path.endswith(".md")] == []
    assert everything.resolve(ModelName(SDXL), "v1").pin != found.pin


def test_what_is_taken_and_changes_is_quarantined_also_after_the_rule_changed(here: Site, world: World) -> None:
    world.deliver(SDXL, "v1", more={"notes.md": b"1"})
    use(here, FilteredRegistry(world.registry, files=FileFilter(leave=("*.md",))))
    publish(here.requester, SDXL, "v1")
    here.settle()
    use(here, FilteredRegistry(world.registry))
    (world.root / SDXL / "v1" / "notes.md").unlink()
    world.change(SDXL, "v1", "other bytes")
    assert wished(here) == []
    with here.state.read() as conn:
        found = versions.find(conn, SDXL, "v1")
    assert found is not None
    assert "digest" in found.quarantined
