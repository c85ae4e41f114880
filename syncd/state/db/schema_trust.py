"""Tables about trust: verdicts on versions, waivers of persons, and the hash chain over the events."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from syncd.state.db import columns
from syncd.state.db.rows import Sha256
from syncd.trust.policy import Outcome

# The newest verdict on a digest under each version of the policy and of the tools; `evidence` is what it is about.
verdicts: Final = sa.Table(
    "verdicts",
    columns.metadata,
    sa.Column("digest", Sha256, nullable=False),
    sa.Column("policy", Sha256, nullable=False),
    columns.text("tools"),
    columns.text("model"),
    columns.text("version_id", sa.ForeignKey("versions.id")),
    columns.enum_column("outcome", Outcome),
    columns.json("findings"),
    columns.json("evidence"),
    columns.text("release_id", default=""),
    columns.timestamp("at"),
    sa.PrimaryKeyConstraint("digest", "policy", "tools"),
    columns.only("outcome", Outcome),
    sa.Index(None, "version_id", "at"),
)

# A person's permission to release one digest once; `used_by` is the release that it let through.
waivers: Final = sa.Table(
    "waivers",
    columns.metadata,
    sa.Column("digest", Sha256, nullable=False),
    columns.text("version_id"),
    columns.text("who"),
    columns.text("why"),
    columns.timestamp("since"),
    columns.timestamp("until"),
    columns.text("used_by", default=""),
    sa.PrimaryKeyConstraint("digest"),
)

# The hash chain over `events`: a row for each settled event, never changed.
event_links: Final = sa.Table(
    "event_links",
    columns.metadata,
    sa.Column("event_id", sa.BigInteger, nullable=False, autoincrement=False),
    columns.text("hash"),
    sa.PrimaryKeyConstraint("event_id"),
)
