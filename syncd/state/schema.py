"""The tables of the record. Alembic compares them with `migrations/`; both must say the same.

A phase or state column has its first value as a default, so that an insert never names one and every later value
comes from `advance` (phases) or `steps` (states). The database itself refuses words that are not in the list.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa

from syncd.plan.phases import FLIP_ENDS, FlipPhase, PlacementPhase, ReleasePhase, StepKind, StepState
from syncd.plan.roles import Role
from syncd.state.types import Checksum, Document, Moment, Sha256, Word

metadata: Final = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _text(name: str, *args: Any, default: str | None = None, nullable: bool = False) -> sa.Column[str]:
    empty = sa.text("''")  # as SQLite tells it back; Alembic would see a difference in ""
    return sa.Column(name, sa.Text, *args, nullable=nullable, server_default=empty if default == "" else default)


def _moment(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, Moment, nullable=nullable)


def _word(name: str, words: type[StrEnum], first: StrEnum | None = None) -> sa.Column[Any]:
    return sa.Column(name, Word(words), nullable=False, server_default=None if first is None else first.value)


def _only(column: str, words: type[StrEnum]) -> sa.CheckConstraint:
    listed = ", ".join(f"'{word.value}'" for word in words)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=column)


def _count(name: str, default: str | None = "0") -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, server_default=default)


def _json(name: str) -> sa.Column[Any]:
    return sa.Column(name, Document, nullable=False, server_default="{}")


versions: Final = sa.Table(
    "versions",
    metadata,
    _text("id"),
    _text("model"),
    _text("name"),
    sa.Column("digest", Sha256, nullable=False),
    _text("registry"),
    _text("pin"),
    _count("size_bytes", None),
    _text("quarantined", default=""),
    _moment("created_at"),
    sa.PrimaryKeyConstraint("id"),
    sa.UniqueConstraint("model", "name"),
)

files: Final = sa.Table(
    "files",
    metadata,
    _text("version_id", sa.ForeignKey("versions.id")),
    _text("path"),
    _count("size_bytes", None),
    sa.Column("sha256", Sha256, nullable=False),
    sa.Column("crc64", Checksum, nullable=True),
    sa.PrimaryKeyConstraint("version_id", "path"),
    sa.Index(None, "sha256"),
)

# How a content was cut into parts: of every file of more than one, whatever version and target it is at.
contents: Final = sa.Table(
    "contents",
    metadata,
    sa.Column("sha256", Sha256, nullable=False),
    sa.Column("blocks", sa.LargeBinary, nullable=False),
    sa.PrimaryKeyConstraint("sha256"),
)

placements: Final = sa.Table(
    "placements",
    metadata,
    _text("version_id", sa.ForeignKey("versions.id")),
    _text("target"),
    _word("phase", PlacementPhase, PlacementPhase.WANTED),
    _count("bytes_sent"),
    _json("progress"),
    _text("reason", default=""),
    _moment("updated_at"),
    sa.PrimaryKeyConstraint("version_id", "target"),
    _only("phase", PlacementPhase),
)

releases: Final = sa.Table(
    "releases",
    metadata,
    sa.Column("number", sa.BigInteger, nullable=False, autoincrement=False),
    _text("id"),
    _text("model"),
    _text("ref"),
    _text("registry"),
    _text("version_id", sa.ForeignKey("versions.id"), nullable=True),
    sa.Column("rollback", sa.Boolean, nullable=False),
    _text("requested_by"),
    _word("phase", ReleasePhase, ReleasePhase.REQUESTED),
    _text("reason", default=""),
    _text("hint", default=""),
    _text("cancel", default=""),
    _moment("created_at"),
    _moment("updated_at"),
    sa.PrimaryKeyConstraint("number"),
    sa.UniqueConstraint("id"),
    sa.Index(None, "model", "number"),
    sa.Index(None, "phase"),
    _only("phase", ReleasePhase),
)

steps: Final = sa.Table(
    "steps",
    metadata,
    _text("id"),
    _text("release_id", sa.ForeignKey("releases.id")),
    _word("kind", StepKind),
    _text("subject"),
    _text("queue"),
    _word("state", StepState, StepState.WAITING),
    _count("attempt"),
    _count("failures"),
    _moment("due_at"),
    _moment("lease_until", nullable=True),
    _text("owner", default=""),
    sa.Column("stop_wanted", sa.Boolean, nullable=False, server_default=sa.false()),
    _text("reason", default=""),
    _text("hint", default=""),
    _moment("started_at", nullable=True),
    _moment("ended_at", nullable=True),
    sa.PrimaryKeyConstraint("id"),
    sa.UniqueConstraint("release_id", "kind", "subject"),
    sa.Index(None, "state"),
    _only("kind", StepKind),
    _only("state", StepState),
)

FLIP_UNFINISHED: Final = "phase NOT IN ({})".format(
    ", ".join(f"'{word}'" for word in sorted(phase.value for phase in FLIP_ENDS))
)

flips: Final = sa.Table(
    "flips",
    metadata,
    _text("release_id", sa.ForeignKey("releases.id")),
    _text("binding"),
    _word("phase", FlipPhase, FlipPhase.CLAIMED),
    _text("from_version", nullable=True),
    _text("to_version", nullable=True),
    _json("served"),
    _json("serves"),
    _text("reason", default=""),
    _moment("updated_at"),
    sa.PrimaryKeyConstraint("release_id", "binding"),
    _only("phase", FlipPhase),
)

# One mover per alias: the database refuses a second unfinished flip of a binding.
sa.Index(
    "uq_flips_binding_unfinished",
    flips.c.binding,
    unique=True,
    sqlite_where=sa.text(FLIP_UNFINISHED),
    postgresql_where=sa.text(FLIP_UNFINISHED),
)

live: Final = sa.Table(
    "live",
    metadata,
    _text("binding"),
    _text("function_version", nullable=True),
    _json("models"),
    _text("release_id", sa.ForeignKey("releases.id"), nullable=True),
    _moment("since"),
    sa.PrimaryKeyConstraint("binding"),
)

function_versions: Final = sa.Table(
    "function_versions",
    metadata,
    _text("binding"),
    _text("function_version"),
    _json("models"),
    _text("change_digest"),
    _text("release_id", sa.ForeignKey("releases.id")),
    _moment("staged_at"),
    sa.PrimaryKeyConstraint("binding", "function_version"),
)

# Instances that are held ready, or are about to be: the row is there before they are, and goes after them.
warmths: Final = sa.Table(
    "warmths",
    metadata,
    _text("binding"),
    _text("alias"),
    _text("release_id", sa.ForeignKey("releases.id")),
    _text("runtime"),
    _text("function"),
    _count("instances", None),
    _json("before"),
    _count("kept_s"),
    sa.Column("made", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("cooling", sa.Boolean, nullable=False, server_default=sa.false()),
    _moment("since"),
    sa.PrimaryKeyConstraint("binding", "alias"),
)

# What hung on an alias before a release moved it.
scalings: Final = sa.Table(
    "scalings",
    metadata,
    _text("release_id", sa.ForeignKey("releases.id")),
    _text("binding"),
    _json("settings"),
    sa.Column("compared", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.PrimaryKeyConstraint("release_id", "binding"),
)

load_times: Final = sa.Table(
    "load_times",
    metadata,
    _text("release_id", sa.ForeignKey("releases.id")),
    _text("binding"),
    _text("version_id", sa.ForeignKey("versions.id")),
    _text("region"),
    _text("target_kind"),
    sa.Column("cold", sa.Boolean, nullable=False),
    _count("answer_ms", None),
    sa.Column("inside_ms", sa.BigInteger, nullable=True),
    sa.Column("load_ms", sa.BigInteger, nullable=True),
    _moment("at"),
    sa.PrimaryKeyConstraint("release_id", "binding"),
    sa.Index(None, "version_id"),
)

holds: Final = sa.Table(
    "holds",
    metadata,
    _text("model"),
    _text("who"),
    _text("why"),
    _moment("since"),
    sa.PrimaryKeyConstraint("model"),
)

approvals: Final = sa.Table(
    "approvals",
    metadata,
    _text("release_id", sa.ForeignKey("releases.id")),
    sa.Column("digest", Sha256, nullable=False),
    _text("who"),
    _moment("at"),
    sa.PrimaryKeyConstraint("release_id"),
)

freezes: Final = sa.Table(
    "freezes",
    metadata,
    _text("model"),
    _text("who"),
    _text("why"),
    _moment("since"),
    _moment("until", nullable=True),
    sa.PrimaryKeyConstraint("model"),
)

# SQLite numbers rows by itself only in a column that is INTEGER to the letter.
_event_id: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

events: Final = sa.Table(
    "events",
    metadata,
    sa.Column("id", _event_id, nullable=False),
    _moment("at"),
    _text("kind"),
    _text("release_id", nullable=True),
    _text("step_id", nullable=True),
    sa.Column("attempt", sa.BigInteger, nullable=True),
    _text("subject", default=""),
    _json("detail"),
    sa.PrimaryKeyConstraint("id"),
    sa.Index(None, "release_id", "id"),
    sqlite_autoincrement=True,  # an id is never used twice, even after the last rows were dropped
)

uploads: Final = sa.Table(
    "uploads",
    metadata,
    _text("version_id", sa.ForeignKey("versions.id")),
    _text("target"),
    _text("path"),
    _text("token"),
    _moment("opened_at"),
    sa.PrimaryKeyConstraint("version_id", "target", "path"),
)

# What the tar of a layer was found to be: it follows from what is in it, so no repository is named.
layers: Final = sa.Table(
    "layers",
    metadata,
    sa.Column("recipe", Sha256, nullable=False),
    sa.Column("digest", Sha256, nullable=False),
    sa.PrimaryKeyConstraint("recipe"),
)

layer_uploads: Final = sa.Table(
    "layer_uploads",
    metadata,
    _text("repository"),
    sa.Column("recipe", Sha256, nullable=False),
    _text("location"),
    _moment("told_at"),
    sa.PrimaryKeyConstraint("repository", "recipe"),
)

processes: Final = sa.Table(
    "processes",
    metadata,
    _text("owner"),
    _text("host"),
    sa.Column("pid", sa.BigInteger, nullable=False),
    _moment("seen_at"),
    sa.PrimaryKeyConstraint("owner"),
)

# Numbers that are given out in the order of commits: the row stays locked until the giver's transaction ends.
counters: Final = sa.Table(
    "counters",
    metadata,
    _text("name"),
    _count("value", None),
    sa.PrimaryKeyConstraint("name"),
)

tokens: Final = sa.Table(
    "tokens",
    metadata,
    _text("id"),
    _text("name"),
    _word("role", Role),
    sa.Column("hash", Sha256, nullable=False),
    _text("created_by"),
    _moment("created_at"),
    sa.PrimaryKeyConstraint("id"),
    sa.UniqueConstraint("name"),
    _only("role", Role),
)

# What registries told us. A row is kept after its look, so that the same delivery is known when it comes again.
deliveries: Final = sa.Table(
    "deliveries",
    metadata,
    _text("hook"),
    _text("id"),
    _text("registry"),
    _text("subject"),
    _moment("received_at"),
    _text("claim", default=""),
    _moment("looked_at", nullable=True),
    sa.PrimaryKeyConstraint("hook", "id"),
    sa.Index(None, "registry", "looked_at"),
)

idempotency_keys: Final = sa.Table(
    "idempotency_keys",
    metadata,
    _text("who"),
    _text("key"),
    sa.Column("body", Sha256, nullable=False),
    _text("release_id", sa.ForeignKey("releases.id"), nullable=True),
    _moment("asked_at"),
    sa.PrimaryKeyConstraint("who", "key"),
)
