"""A version that was refused before it was sealed anywhere, and then fixed in the registry under the same name."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence

import pytest
from syncd.artifact.names import parse_model
from syncd.cli.upload import source_directory
from syncd.cli.upload.directory import upload_directory
from syncd.errors import Conflict
from syncd.plan.phases import ReleasePhase
from syncd.reconcile.discovery.poll import poll_model
from syncd.reconcile.requests.create import RequestOrigin
from syncd.reconcile.requests.operations import publish
from syncd.registry.rules.file_filters import FileFilter
from syncd.registry.rules.filtered import FilteredRegistry
from syncd.state.content import versions
from syncd.state.records import Release, Version

from tests.support.rooms import SDXL, Site, World, look
from tests.unit.reconcile.test_choosing import use
from tests.unit.registry.trees import write

PAGE = b"<html>Please log in</html>"


def relist(world: World, add: str) -> None:
    listed = world.root / SDXL / "v1" / "SHA256SUMS"
    listed.write_text(listed.read_text() + add)


def wrong_format(here: Site, world: World) -> None:
    """Refused by the check of formats; nothing is recorded of it."""
    world.deliver(SDXL, "v1", more={"model.safetensors": PAGE})
    refuse(here)


def bad_name(here: Site, world: World) -> None:
    """Refused for a name, when it is resolved."""
    world.deliver(SDXL, "v1")
    relist(world, f"{'0' * 64}  ../up.bin\n")
    refuse(here)


def nothing_taken(here: Site, world: World) -> None:
    """Refused as the filter of files selects none."""
    world.deliver(SDXL, "v1", more={"notes.txt": b"1"})
    place = world.root / SDXL / "v1"
    for name in ("weights.bin", "config.json"):
        (place / name).unlink()
    (place / "SHA256SUMS").write_text(f"{hashlib.sha256(b'1').hexdigest()}  notes.txt\n")
    use(here, FilteredRegistry(world.registry, files=FileFilter(take=("*.bin", "*.json"))))
    refuse(here)


def lying_list(here: Site, world: World) -> None:
    """Recorded, and refused as its bytes are not what its list says."""
    world.deliver(SDXL, "v1", "meant")
    write(
        world.root / SDXL / "v1",
        {"weights.bin": b"x" * 100_000},
        int((world.root / SDXL / "v1" / "SHA256SUMS").stat().st_mtime),
    )
    refuse(here)


def quarantined(here: Site, world: World) -> None:
    """Recorded, and changed at the source before it was copied, which a poll has seen."""
    world.deliver(SDXL, "v1", "first")
    release = publish(here.requester, SDXL, "v1")
    here.until(ReleasePhase.PLACING, release.id)
    world.change(SDXL, "v1", "second")
    look(here.context, "models", auto_release=False)
    assert recorded(here).quarantined
    here.settle(patient=True)
    assert here.release(release.id).phase is ReleasePhase.STALLED


def refuse(here: Site) -> None:
    release = publish(here.requester, SDXL, "v1")
    here.settle(patient=True)
    assert here.release(release.id).phase is ReleasePhase.STALLED
    assert look(here.context, "models", auto_release=True) == []


def recorded(here: Site) -> Version:
    with here.state.read() as conn:
        found = versions.find(conn, SDXL, "v1")
    assert found is not None
    return found


def by_poll(here: Site, world: World) -> Sequence[Release]:
    return look(here.context, "models", auto_release=True)


def by_webhook(here: Site, world: World) -> Sequence[Release]:
    origin = RequestOrigin.WEBHOOK
    return poll_model(here.context, "models", parse_model(SDXL), ["v1"], auto_release=True, origin=origin)


def by_publish(here: Site, world: World) -> Sequence[Release]:
    return [publish(here.requester, SDXL, "v1")]


def by_from(here: Site, world: World) -> Sequence[Release]:
    """As `publish --from` does, of the same files, once the refused version is removed from the registry."""
    version = world.root / SDXL / "v1"
    source = world.root.parent / "fixed"
    shutil.move(version, source)
    (source / "SHA256SUMS").unlink()
    upload_directory(source, source_directory.scan(source).files, version)
    return [publish(here.requester, SDXL, "v1")]


@pytest.mark.parametrize("ask", [by_poll, by_webhook, by_publish, by_from])
@pytest.mark.parametrize("refused", [wrong_format, bad_name, nothing_taken, lying_list, quarantined])
def test_a_refused_version_that_is_fixed_under_its_name_goes_live(
    here: Site,
    world: World,
    refused: Callable[[Site, World], None],
    ask: Callable[[Site, World], Sequence[Release]],
) -> None:
    refused(here, world)
    shutil.rmtree(world.root / SDXL / "v1")
    world.deliver(SDXL, "v1", "fixed")
    (release,) = ask(here, world)
    here.settle(patient=True)
    assert here.release(release.id).phase is ReleasePhase.LIVE, here.release(release.id).reason
    assert recorded(here).quarantined == ""
    assert here.world.serves("singapore") == [recorded(here).digest.hex]
    here.assert_record_is_true()
    assert look(here.context, "models", auto_release=True) == []


def test_from_names_the_way_out_where_the_refused_version_is_still_there(here: Site, world: World) -> None:
    wrong_format(here, world)
    version, source = world.root / SDXL / "v1", world.root.parent / "fixed"
    write(source, {"weights.bin": b"1"})
    with pytest.raises(Conflict, match="exists with other files") as told:
        upload_directory(source, source_directory.scan(source).files, version)
    assert told.value.hint.endswith(f"rm -r {version}")


def test_what_was_refused_and_is_still_the_same_is_not_requested_again(here: Site, world: World) -> None:
    wrong_format(here, world)
    shutil.rmtree(world.root / SDXL / "v1")
    world.deliver(SDXL, "v1", "still no model", more={"model.safetensors": PAGE})
    for requested in (True, False, False):
        assert bool(look(here.context, "models", auto_release=True)) is requested
        here.settle(patient=True)


def test_a_replaced_version_stays_in_the_history_and_can_come_back(here: Site, world: World) -> None:
    lying_list(here, world)
    first = recorded(here)
    stalled = here.all_releases()[0]
    world.change(SDXL, "v1", "other")
    look(here.context, "models", auto_release=False)
    second = recorded(here)
    assert second.id != first.id
    with here.state.read() as conn:
        assert versions.known(conn, SDXL) == [second]
        assert versions.get(conn, first.id).name == "v1"
        assert versions.manifest(conn, first.id).digest == first.digest
        assert here.release(stalled.id).version_id == first.id
    world.change(SDXL, "v1", "meant")
    release = publish(here.requester, SDXL, "v1")
    here.settle(patient=True)
    assert here.release(release.id).phase is ReleasePhase.LIVE
    assert recorded(here).id == first.id
    assert [event.kind for event in here.events()].count("version.replaced") == 2
