"""Images of versions and their bases. A row exists only for what was verified."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import sqlalchemy as sa

from syncd.artifact.digest import Digest
from syncd.state.db.rows import fetch_all, fetch_one, insert
from syncd.state.db.schema_images import image_bases, images
from syncd.state.records import ImageBase, PlacedImage


def base(conn: sa.Connection, version_id: str, target: str) -> ImageBase | None:
    """The base of this version at this target; None if it was not resolved yet."""
    found = sa.select(image_bases).where(image_bases.c.version_id == version_id, image_bases.c.target == target)
    return fetch_one(conn, ImageBase, found)


def bases(conn: sa.Connection) -> dict[tuple[str, str], ImageBase]:
    """The base of every version at every target, in one statement."""
    return {(each.version_id, each.target): each for each in fetch_all(conn, ImageBase, sa.select(image_bases))}


def found_base(conn: sa.Connection, found: ImageBase) -> None:
    """Record a base. Replaces the digest found for another base."""
    values = {"base": found.base, "digest": found.digest, "found_at": found.found_at}
    row = insert(conn, image_bases).values(version_id=found.version_id, target=found.target, **values)
    conn.execute(row.on_conflict_do_update(index_elements=["version_id", "target"], set_=values))


def find(conn: sa.Connection, version_id: str, target: str) -> PlacedImage | None:
    """The image of a version at a target, over its current base; None if it does not exist yet."""
    return chosen(conn, version_id).get(target)


def over(conn: sa.Connection, version_id: str, target: str, base: Digest) -> PlacedImage | None:
    """The image of a version at a target over this base; None if it does not exist."""
    return chosen(conn, version_id, {target: base}).get(target)


def chosen(
    conn: sa.Connection, version_id: str, bases: Mapping[str, Digest] = MappingProxyType({})
) -> dict[str, PlacedImage]:
    """The image of a version at each target: over the base given in `bases`, else over its current one."""
    now = sa.select(image_bases).where(image_bases.c.version_id == version_id)
    wanted = {found.target: found.digest for found in fetch_all(conn, ImageBase, now)} | dict(bases)
    return {i.target: i for i in of_version(conn, version_id) if wanted.get(i.target) == i.base_digest}


def of_version(conn: sa.Connection, version_id: str) -> list[PlacedImage]:
    """Every image of a version over any base, ordered by target, the oldest first."""
    found = sa.select(images).where(images.c.version_id == version_id)
    return fetch_all(conn, PlacedImage, found.order_by(images.c.target, images.c.baked_at))


def placed(conn: sa.Connection, image: PlacedImage) -> None:
    """Record an image that was verified. Replaces one of the same version over the same base."""
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
