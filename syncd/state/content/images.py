"""Images of versions: what they were laid over, and what came of it. A row is only there for what was proven."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import sqlalchemy as sa

from syncd.artifact.digest import Digest
from syncd.state.db.rows import fetch_all, fetch_one, insert
from syncd.state.db.schema_images import image_bases, images
from syncd.state.records import ImageBase, PlacedImage


def base(conn: sa.Connection, version_id: str, target: str) -> ImageBase | None:
    """What the base was found to be for this version there; None where it was not looked up yet."""
    found = sa.select(image_bases).where(image_bases.c.version_id == version_id, image_bases.c.target == target)
    return fetch_one(conn, ImageBase, found)


def found_base(conn: sa.Connection, found: ImageBase) -> None:
    """Remember what the base is. Replaces what was found before, of another base."""
    values = {"base": found.base, "digest": found.digest, "found_at": found.found_at}
    row = insert(conn, image_bases).values(version_id=found.version_id, target=found.target, **values)
    conn.execute(row.on_conflict_do_update(index_elements=["version_id", "target"], set_=values))


def find(conn: sa.Connection, version_id: str, target: str) -> PlacedImage | None:
    """The image of a version at a target, over the base that it has now; None where there is none yet."""
    return chosen(conn, version_id).get(target)


def over(conn: sa.Connection, version_id: str, target: str, base: Digest) -> PlacedImage | None:
    """The image of a version at a target that was laid over this base; None where there is none."""
    return chosen(conn, version_id, {target: base}).get(target)


def chosen(
    conn: sa.Connection, version_id: str, bases: Mapping[str, Digest] = MappingProxyType({})
) -> dict[str, PlacedImage]:
    """The image of a version at each target: over the base that is named in `bases`, else over the one it has now."""
    now = sa.select(image_bases).where(image_bases.c.version_id == version_id)
    wanted = {found.target: found.digest for found in fetch_all(conn, ImageBase, now)} | dict(bases)
    return {i.target: i for i in of_version(conn, version_id) if wanted.get(i.target) == i.base_digest}


def of_version(conn: sa.Connection, version_id: str) -> list[PlacedImage]:
    """Every image of a version over whatever base, in the order of the targets, the oldest first."""
    found = sa.select(images).where(images.c.version_id == version_id)
    return fetch_all(conn, PlacedImage, found.order_by(images.c.target, images.c.baked_at))


def placed(conn: sa.Connection, image: PlacedImage) -> None:
    """Remember an image that was proven. Replaces one of the same version over the same base."""
    values = {
        "repository": image.repository,
        "served_from": image.served_from,
        "tag": image.tag,
        "digest": image.digest,
        "base": image.base,
        "directory": image.directory,
        "baked_at": image.baked_at,
    }
    key = {"version_id": image.version_id, "target": image.target, "base_digest": image.base_digest}
    row = insert(conn, images).values(**key, **values)
    conn.execute(row.on_conflict_do_update(index_elements=list(key), set_=values))
