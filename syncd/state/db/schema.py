"""Tables of the record. Alembic compares them with `migrations/`; both must agree.

A phase or state column has its first value as a default, so that an insert never sets one and every later value
comes from `advance` (phases) or `steps` (states). The database itself refuses unknown values.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from syncd.plan.phases import (
    FLIP_ENDS,
    RELEASE_ENDS,
    FlipPhase,
    PlacementPhase,
    ReleasePhase,
    StepKind,
    StepState,
)
from syncd.plan.roles import Role
from syncd.state.db import columns
from syncd.state.db.rows import ChecksumType, Sha256

metadata: Final = columns.metadata

versions: Final = sa.Table(
    "versions",
    columns.metadata,
    columns.text("id"),
    columns.text("model"),
    columns.text("name"),
    sa.Column("digest", Sha256, nullable=False),
    columns.text("registry"),
    columns.text("pin"),
    columns.count("size_bytes", None),
    columns.text("quarantined", default=""),
    columns.timestamp("created_at"),
    sa.PrimaryKeyConstraint("id"),
    sa.UniqueConstraint("model", "name"),
)

columns.index_where("ix_versions_quarantined", "quarantined <> ''", versions.c.model)

files: Final = sa.Table(
    "files",
    columns.metadata,
    columns.text("version_id", sa.ForeignKey("versions.id")),
    columns.text("path"),
    columns.count("size_bytes", None),
    sa.Column("sha256", Sha256, nullable=False),
    sa.Column("crc64", ChecksumType, nullable=True),
    sa.PrimaryKeyConstraint("version_id", "path"),
    sa.Index(None, "sha256"),
)

# How a content was cut into parts, for every file of more than one part, independent of version and target.
contents: Final = sa.Table(
    "contents",
    columns.metadata,
    sa.Column("sha256", Sha256, nullable=False),
    sa.Column("blocks", sa.LargeBinary, nullable=False),
    sa.Column("leaves", sa.LargeBinary, nullable=True),
    sa.PrimaryKeyConstraint("sha256"),
)

placements: Final = sa.Table(
    "placements",
    columns.metadata,
    columns.text("version_id", sa.ForeignKey("versions.id")),
    columns.text("target"),
    columns.enum_column("phase", PlacementPhase, PlacementPhase.WANTED),
    columns.count("bytes_sent"),
    columns.json("progress"),
    columns.text("reason", default=""),
    columns.timestamp("updated_at"),
    sa.PrimaryKeyConstraint("version_id", "target"),
    columns.only("phase", PlacementPhase),
)

releases: Final = sa.Table(
    "releases",
    columns.metadata,
    sa.Column("number", sa.BigInteger, nullable=False, autoincrement=False),
    columns.text("id"),
    columns.text("model"),
    columns.text("ref"),
    columns.text("registry"),
    columns.text("version_id", sa.ForeignKey("versions.id"), nullable=True),
    sa.Column("rollback", sa.Boolean, nullable=False),
    columns.text("requested_by"),
    columns.enum_column("phase", ReleasePhase, ReleasePhase.REQUESTED),
    columns.text("reason", default=""),
    columns.text("hint", default=""),
    columns.text("cancel", default=""),
    columns.timestamp("created_at"),
    columns.timestamp("updated_at"),
    sa.PrimaryKeyConstraint("number"),
    sa.UniqueConstraint("id"),
    sa.Index(None, "model", "number"),
    sa.Index(None, "phase"),
    columns.only("phase", ReleasePhase),
)

RELEASE_UNFINISHED: Final = "phase NOT IN ({})".format(
    ", ".join(f"'{word}'" for word in sorted(phase.value for phase in RELEASE_ENDS))
)

# A pass reads the unfinished releases; the table has the releases of years.
columns.index_where("ix_releases_unfinished", RELEASE_UNFINISHED, releases.c.number)

# The releases that went live without some region, one for each model: a newer release of the model removes the row.
left_behind: Final = sa.Table(
    "left_behind",
    columns.metadata,
    columns.text("model"),
    columns.text("release_id", sa.ForeignKey("releases.id")),
    sa.PrimaryKeyConstraint("model"),
)

steps: Final = sa.Table(
    "steps",
    columns.metadata,
    columns.text("id"),
    columns.text("release_id", sa.ForeignKey("releases.id")),
    columns.enum_column("kind", StepKind),
    columns.text("subject"),
    columns.text("queue"),
    columns.enum_column("state", StepState, StepState.WAITING),
    columns.count("attempt"),
    columns.count("failures"),
    columns.timestamp("due_at"),
    columns.timestamp("lease_until", nullable=True),
    columns.text("owner", default=""),
    sa.Column("stop_wanted", sa.Boolean, nullable=False, server_default=sa.false()),
    columns.text("reason", default=""),
    columns.text("hint", default=""),
    columns.timestamp("started_at", nullable=True),
    columns.timestamp("ended_at", nullable=True),
    sa.PrimaryKeyConstraint("id"),
    sa.UniqueConstraint("release_id", "kind", "subject"),
    sa.Index(None, "state"),
    columns.only("kind", StepKind),
    columns.only("state", StepState),
)

FLIP_UNFINISHED: Final = "phase NOT IN ({})".format(
    ", ".join(f"'{word}'" for word in sorted(phase.value for phase in FLIP_ENDS))
)

flips: Final = sa.Table(
    "flips",
    columns.metadata,
    columns.text("release_id", sa.ForeignKey("releases.id")),
    columns.text("binding"),
    columns.enum_column("phase", FlipPhase, FlipPhase.CLAIMED),
    columns.text("from_version", nullable=True),
    columns.text("to_version", nullable=True),
    columns.json("served"),
    columns.json("serves"),
    columns.text("reason", default=""),
    columns.timestamp("updated_at"),
    sa.PrimaryKeyConstraint("release_id", "binding"),
    sa.Index(None, "binding"),
    columns.only("phase", FlipPhase),
)

# One mover per alias: the database refuses a second unfinished flip of a binding.
columns.unique_where("uq_flips_binding_unfinished", FLIP_UNFINISHED, flips.c.binding)

live: Final = sa.Table(
    "live",
    columns.metadata,
    columns.text("binding"),
    columns.text("function_version", nullable=True),
    columns.json("models"),
    columns.text("release_id", sa.ForeignKey("releases.id"), nullable=True),
    columns.timestamp("since"),
    sa.PrimaryKeyConstraint("binding"),
)

function_versions: Final = sa.Table(
    "function_versions",
    columns.metadata,
    columns.text("binding"),
    columns.text("function_version"),
    columns.json("models"),
    columns.text("change_digest"),
    columns.text("release_id", sa.ForeignKey("releases.id")),
    columns.timestamp("staged_at"),
    sa.PrimaryKeyConstraint("binding", "function_version"),
)

holds: Final = sa.Table(
    "holds",
    columns.metadata,
    columns.text("model"),
    columns.text("who"),
    columns.text("why"),
    columns.timestamp("since"),
    sa.PrimaryKeyConstraint("model"),
)

approvals: Final = sa.Table(
    "approvals",
    columns.metadata,
    columns.text("release_id", sa.ForeignKey("releases.id")),
    sa.Column("digest", Sha256, nullable=False),
    columns.text("who"),
    columns.timestamp("at"),
    sa.PrimaryKeyConstraint("release_id"),
)

freezes: Final = sa.Table(
    "freezes",
    columns.metadata,
    columns.text("model"),
    columns.text("who"),
    columns.text("why"),
    columns.timestamp("since"),
    columns.timestamp("until", nullable=True),
    sa.PrimaryKeyConstraint("model"),
)

# SQLite numbers rows by itself only in a column that is INTEGER to the letter.
_event_id: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

events: Final = sa.Table(
    "events",
    columns.metadata,
    sa.Column("id", _event_id, nullable=False),
    columns.timestamp("at"),
    columns.text("kind"),
    columns.text("release_id", nullable=True),
    columns.text("step_id", nullable=True),
    sa.Column("attempt", sa.BigInteger, nullable=True),
    columns.text("subject", default=""),
    columns.json("detail"),
    sa.PrimaryKeyConstraint("id"),
    sa.Index(None, "release_id", "id"),
    sqlite_autoincrement=True,  # an id is never used twice, even after the last rows were dropped
)

uploads: Final = sa.Table(
    "uploads",
    columns.metadata,
    columns.text("version_id", sa.ForeignKey("versions.id")),
    columns.text("target"),
    columns.text("path"),
    columns.text("token"),
    columns.timestamp("opened_at"),
    sa.PrimaryKeyConstraint("version_id", "target", "path"),
)

# The digest of a layer's tar. It depends only on the content, so the row has no repository.
layers: Final = sa.Table(
    "layers",
    columns.metadata,
    sa.Column("recipe", Sha256, nullable=False),
    sa.Column("digest", Sha256, nullable=False),
    sa.PrimaryKeyConstraint("recipe"),
)

layer_uploads: Final = sa.Table(
    "layer_uploads",
    columns.metadata,
    columns.text("repository"),
    sa.Column("recipe", Sha256, nullable=False),
    columns.text("location"),
    columns.timestamp("told_at"),
    sa.PrimaryKeyConstraint("repository", "recipe"),
)

processes: Final = sa.Table(
    "processes",
    columns.metadata,
    columns.text("owner"),
    columns.text("host"),
    sa.Column("pid", sa.BigInteger, nullable=False),
    columns.timestamp("seen_at"),
    sa.PrimaryKeyConstraint("owner"),
)

# Properties of the record itself, by name; see `state.access.record_info`.
record_info: Final = sa.Table(
    "record_info",
    columns.metadata,
    columns.text("name"),
    columns.text("value", default=""),
    columns.timestamp("at"),
    sa.PrimaryKeyConstraint("name"),
)

# Numbers that are assigned in the order of commits: the row stays locked until the transaction ends.
counters: Final = sa.Table(
    "counters",
    columns.metadata,
    columns.text("name"),
    columns.count("value", None),
    sa.PrimaryKeyConstraint("name"),
)

tokens: Final = sa.Table(
    "tokens",
    columns.metadata,
    columns.text("id"),
    columns.text("name"),
    columns.enum_column("role", Role),
    sa.Column("hash", Sha256, nullable=False),
    columns.text("created_by"),
    columns.timestamp("created_at"),
    columns.json("limits"),
    sa.PrimaryKeyConstraint("id"),
    sa.UniqueConstraint("name"),
    columns.only("role", Role),
)

# Webhook deliveries. A row is kept after its poll, so that a repeated delivery is recognised.
deliveries: Final = sa.Table(
    "deliveries",
    columns.metadata,
    columns.text("hook"),
    columns.text("id"),
    columns.text("registry"),
    columns.text("subject"),
    columns.text("place", default=""),
    columns.text("ref", default=""),
    columns.timestamp("received_at"),
    columns.text("claim", default=""),
    columns.timestamp("looked_at", nullable=True),
    sa.PrimaryKeyConstraint("hook", "id"),
    sa.Index(None, "registry", "looked_at"),
)

idempotency_keys: Final = sa.Table(
    "idempotency_keys",
    columns.metadata,
    columns.text("who"),
    columns.text("key"),
    sa.Column("body", Sha256, nullable=False),
    columns.text("release_id", sa.ForeignKey("releases.id"), nullable=True),
    columns.timestamp("asked_at"),
    sa.PrimaryKeyConstraint("who", "key"),
)
