"""Images of versions: what they were laid over, and what came of it. A row is only there for what was proven."""

from __future__ import annotations

import sqlalchemy as sa

from syncd.state.records import ImageBase, PlacedImage
from syncd.state.rows import every, insert, one
from syncd.state.schema_images import image_bases, images


def base(conn: sa.Connection, version_id: str, target: str) -> ImageBase | None:
    """What the base was found to be for this version there; None where it was not looked up yet."""
    found = sa.select(image_bases).where(image_bases.c.version_id == version_id, image_bases.c.target == target)
    return one(conn, ImageBase, found)


def found_base(conn: sa.Connection, found: ImageBase) -> None:
    """Remember what the base is. Replaces what was found before, of another base."""
    values = {"base": found.base, "digest": found.digest, "found_at": found.found_at}
    row = insert(conn, image_bases).values(version_id=found.version_id, target=found.target, **values)
    conn.execute(row.on_conflict_do_update(index_elements=["version_id", "target"], set_=values))


def find(conn: sa.Connection, version_id: str, target: str) -> PlacedImage | None:
    """The image of a version at a target; None where there is none yet."""
    return one(conn, PlacedImage, sa.select(images).where(images.c.version_id == version_id, images.c.target == target))


def of_version(conn: sa.Connection, version_id: str) -> list[PlacedImage]:
    """Every image of a version, in the order of the targets."""
    found = sa.select(images).where(images.c.version_id == version_id)
    return every(conn, PlacedImage, found.order_by(images.c.target))


def placed(conn: sa.Connection, image: PlacedImage) -> None:
    """Remember an image that was proven. Replaces one of the same version that was laid over something else."""
    values = {
        "repository": image.repository,
        "served_from": image.served_from,
        "tag": image.tag,
        "digest": image.digest,
        "base": image.base,
        "base_digest": image.base_digest,
        "directory": image.directory,
        "baked_at": image.baked_at,
    }
    row = insert(conn, images).values(version_id=image.version_id, target=image.target, **values)
    conn.execute(row.on_conflict_do_update(index_elements=["version_id", "target"], set_=values))
