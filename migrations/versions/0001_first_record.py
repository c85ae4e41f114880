"""The first record.

Revision ID: 0001
Revises: nothing
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    """Times are microseconds since 1970, digests and checksums hex digits; see `syncd.state.types`."""
    _versions()
    _placements()
    _releases()
    _steps()
    _flips()
    _rollouts()
    _live()
    _warmth_and_times()
    _holds_and_events()
    _approvals_and_freezes()
    _what_comes_by_http()
    _drift()
    _retirements()
    _layers()
    _images()
    _bases()


def _one_of(column: str, words: str, name: str) -> sa.CheckConstraint:
    listed = ", ".join(f"'{word}'" for word in words.split())
    return sa.CheckConstraint(f"{column} IN ({listed})", name=op.f(name))


def _versions() -> None:
    op.create_table(
        "versions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("registry", sa.Text(), nullable=False),
        sa.Column("pin", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("quarantined", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_versions"),
        sa.UniqueConstraint("model", "name", name="uq_versions_model_name"),
    )
    op.create_table(
        "files",
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("crc64", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name="fk_files_version_id"),
        sa.PrimaryKeyConstraint("version_id", "path", name="pk_files"),
    )
    op.create_index("ix_files_sha256", "files", ["sha256"])
    op.create_table(
        "contents",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("blocks", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_contents"),
    )


def _placements() -> None:
    op.create_table(
        "placements",
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("phase", sa.Text(), server_default="wanted", nullable=False),
        sa.Column("bytes_sent", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("progress", _JSON, server_default="{}", nullable=False),
        sa.Column("reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        _one_of("phase", "wanted copying sealed withdrawing withdrawn", "ck_placements_phase"),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name="fk_placements_version_id"),
        sa.PrimaryKeyConstraint("version_id", "target", name="pk_placements"),
    )
    op.create_table(
        "uploads",
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name="fk_uploads_version_id"),
        sa.PrimaryKeyConstraint("version_id", "target", "path", name="pk_uploads"),
    )


def _releases() -> None:
    op.create_table(
        "counters",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_counters"),
    )
    op.create_table(
        "releases",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("registry", sa.Text(), nullable=False),
        sa.Column("version_id", sa.Text(), nullable=True),
        sa.Column("rollback", sa.Boolean(), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("phase", sa.Text(), server_default="requested", nullable=False),
        sa.Column("reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("hint", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("cancel", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        _one_of(
            "phase",
            "requested placing staging flipping live undoing undone stalled superseded cancelled",
            "ck_releases_phase",
        ),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name="fk_releases_version_id"),
        sa.PrimaryKeyConstraint("number", name="pk_releases"),
        sa.UniqueConstraint("id", name="uq_releases_id"),
    )
    op.create_index("ix_releases_model_number", "releases", ["model", "number"])
    op.create_index("ix_releases_phase", "releases", ["phase"])


def _steps() -> None:
    op.create_table(
        "steps",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("release_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="waiting", nullable=False),
        sa.Column("attempt", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("failures", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("lease_until", sa.BigInteger(), nullable=True),
        sa.Column("owner", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("stop_wanted", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("hint", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        _one_of("kind", "resolve place stage probe weigh judge flip undo", "ck_steps_kind"),
        _one_of("state", "waiting queued running done stalled cancelled", "ck_steps_state"),
        sa.ForeignKeyConstraint(["release_id"], ["releases.id"], name="fk_steps_release_id"),
        sa.PrimaryKeyConstraint("id", name="pk_steps"),
        sa.UniqueConstraint("release_id", "kind", "subject", name="uq_steps_release_id_kind_subject"),
    )
    op.create_index("ix_steps_state", "steps", ["state"])


def _flips() -> None:
    unfinished = sa.text("phase NOT IN ('abandoned', 'done', 'undone')")
    op.create_table(
        "flips",
        sa.Column("release_id", sa.Text(), nullable=False),
        sa.Column("binding", sa.Text(), nullable=False),
        sa.Column("phase", sa.Text(), server_default="claimed", nullable=False),
        sa.Column("from_version", sa.Text(), nullable=True),
        sa.Column("to_version", sa.Text(), nullable=True),
        sa.Column("served", _JSON, server_default="{}", nullable=False),
        sa.Column("serves", _JSON, server_default="{}", nullable=False),
        sa.Column("reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        _one_of(
            "phase",
            "claimed staged probed weighing weighted intended flipped done undoing undone abandoned",
            "ck_flips_phase",
        ),
        sa.ForeignKeyConstraint(["release_id"], ["releases.id"], name="fk_flips_release_id"),
        sa.PrimaryKeyConstraint("release_id", "binding", name="pk_flips"),
    )
    op.create_index(
        "uq_flips_binding_unfinished",
        "flips",
        ["binding"],
        unique=True,
        sqlite_where=unfinished,
        postgresql_where=unfinished,
    )


def _rollouts() -> None:
    op.create_table(
        "rollouts",
        sa.Column("release_id", sa.Text(), nullable=False),
        sa.Column("strategy", _JSON, server_default="{}", nullable=False),
        sa.Column("regions", _JSON, server_default="{}", nullable=False),
        sa.Column("stage", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("pause_since", sa.BigInteger(), nullable=True),
        sa.Column("pause_until", sa.BigInteger(), nullable=True),
        sa.Column("out_since", sa.BigInteger(), nullable=True),
        sa.Column("hurried", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.ForeignKeyConstraint(["release_id"], ["releases.id"], name="fk_rollouts_release_id"),
        sa.PrimaryKeyConstraint("release_id", name="pk_rollouts"),
    )
    op.create_table(
        "canaries",
        sa.Column("release_id", sa.Text(), nullable=False),
        sa.Column("binding", sa.Text(), nullable=False),
        sa.Column("percent", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("stage", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("good", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("bad", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["release_id"], ["releases.id"], name="fk_canaries_release_id"),
        sa.PrimaryKeyConstraint("release_id", "binding", name="pk_canaries"),
    )


def _live() -> None:
    op.create_table(
        "live",
        sa.Column("binding", sa.Text(), nullable=False),
        sa.Column("function_version", sa.Text(), nullable=True),
        sa.Column("models", _JSON, server_default="{}", nullable=False),
        sa.Column("release_id", sa.Text(), nullable=True),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["release_id"], ["releases.id"], name="fk_live_release_id"),
        sa.PrimaryKeyConstraint("binding", name="pk_live"),
    )
    op.create_table(
        "function_versions",
        sa.Column("binding", sa.Text(), nullable=False),
        sa.Column("function_version", sa.Text(), nullable=False),
        sa.Column("models", _JSON, server_default="{}", nullable=False),
        sa.Column("change_digest", sa.Text(), nullable=False),
        sa.Column("release_id", sa.Text(), nullable=False),
        sa.Column("staged_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["release_id"], ["releases.id"], name="fk_function_versions_release_id"),
        sa.PrimaryKeyConstraint("binding", "function_version", name="pk_function_versions"),
    )


def _warmth_and_times() -> None:
    op.create_table(
        "warmths",
        sa.Column("binding", sa.Text(), nullable=False),
        sa.Column("alias", sa.Text(), nullable=False),
        sa.Column("release_id", sa.Text(), nullable=False),
        sa.Column("runtime", sa.Text(), nullable=False),
        sa.Column("function", sa.Text(), nullable=False),
        sa.Column("instances", sa.BigInteger(), nullable=False),
        sa.Column("before", _JSON, server_default="{}", nullable=False),
        sa.Column("kept_s", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("made", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("cooling", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["release_id"], ["releases.id"], name="fk_warmths_release_id"),
        sa.PrimaryKeyConstraint("binding", "alias", name="pk_warmths"),
    )
    op.create_table(
        "scalings",
        sa.Column("release_id", sa.Text(), nullable=False),
        sa.Column("binding", sa.Text(), nullable=False),
        sa.Column("settings", _JSON, server_default="{}", nullable=False),
        sa.Column("compared", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.ForeignKeyConstraint(["release_id"], ["releases.id"], name="fk_scalings_release_id"),
        sa.PrimaryKeyConstraint("release_id", "binding", name="pk_scalings"),
    )
    op.create_table(
        "load_times",
        sa.Column("release_id", sa.Text(), nullable=False),
        sa.Column("binding", sa.Text(), nullable=False),
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("target_kind", sa.Text(), nullable=False),
        sa.Column("cold", sa.Boolean(), nullable=False),
        sa.Column("answer_ms", sa.BigInteger(), nullable=False),
        sa.Column("inside_ms", sa.BigInteger(), nullable=True),
        sa.Column("load_ms", sa.BigInteger(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["release_id"], ["releases.id"], name="fk_load_times_release_id"),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name="fk_load_times_version_id"),
        sa.PrimaryKeyConstraint("release_id", "binding", name="pk_load_times"),
    )
    op.create_index("ix_load_times_version_id", "load_times", ["version_id"])


def _holds_and_events() -> None:
    op.create_table(
        "processes",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner", name="pk_processes"),
    )
    op.create_table(
        "holds",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("model", name="pk_holds"),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("release_id", sa.Text(), nullable=True),
        sa.Column("step_id", sa.Text(), nullable=True),
        sa.Column("attempt", sa.BigInteger(), nullable=True),
        sa.Column("subject", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("detail", _JSON, server_default="{}", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_release_id_id", "events", ["release_id", "id"])


def _approvals_and_freezes() -> None:
    op.create_table(
        "approvals",
        sa.Column("release_id", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["release_id"], ["releases.id"], name="fk_approvals_release_id"),
        sa.PrimaryKeyConstraint("release_id", name="pk_approvals"),
    )
    op.create_table(
        "freezes",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("model", name="pk_freezes"),
    )


def _what_comes_by_http() -> None:
    op.create_table(
        "tokens",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
        sa.UniqueConstraint("name", name="uq_tokens_name"),
        _one_of("role", "read publish operate", "ck_tokens_role"),
    )
    op.create_table(
        "deliveries",
        sa.Column("hook", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("registry", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("ref", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("claim", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("looked_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("hook", "id", name="pk_deliveries"),
    )
    op.create_index("ix_deliveries_registry_looked_at", "deliveries", ["registry", "looked_at"])
    op.create_table(
        "idempotency_keys",
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("release_id", sa.Text(), nullable=True),
        sa.Column("asked_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["release_id"], ["releases.id"], name="fk_idempotency_keys_release_id"),
        sa.PrimaryKeyConstraint("who", "key", name="pk_idempotency_keys"),
    )


def _drift() -> None:
    op.create_table(
        "drifts",
        sa.Column("binding", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("found_at", sa.BigInteger(), nullable=False),
        sa.Column("got", sa.Text(), nullable=False),
        sa.Column("want", sa.Text(), nullable=False),
        sa.Column("good_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.Column("closed", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.PrimaryKeyConstraint("binding", "what", "found_at", name="pk_drifts"),
    )
    is_open = sa.text("closed_at IS NULL")
    op.create_index(
        "uq_drifts_binding_what_open",
        "drifts",
        ["binding", "what"],
        unique=True,
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
    op.create_table(
        "drift_looks",
        sa.Column("binding", sa.Text(), nullable=False),
        sa.Column("looked_at", sa.BigInteger(), nullable=False),
        sa.Column("good_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("binding", name="pk_drift_looks"),
    )
    op.create_table(
        "mends",
        sa.Column("binding", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("expects", sa.Text(), nullable=True),
        sa.Column("began_at", sa.BigInteger(), nullable=False),
        sa.Column("lease_until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("binding", name="pk_mends"),
    )


def _retirements() -> None:
    op.create_table(
        "retirements",
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.BigInteger(), nullable=False),
        sa.Column("done_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name="fk_retirements_version_id"),
        sa.PrimaryKeyConstraint("version_id", name="pk_retirements"),
    )


def _layers() -> None:
    op.create_table(
        "layers",
        sa.Column("recipe", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("recipe", name="pk_layers"),
    )
    op.create_table(
        "layer_uploads",
        sa.Column("repository", sa.Text(), nullable=False),
        sa.Column("recipe", sa.Text(), nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("told_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("repository", "recipe", name="pk_layer_uploads"),
    )


def _images() -> None:
    op.create_table(
        "image_bases",
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("base", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("found_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name="fk_image_bases_version_id"),
        sa.PrimaryKeyConstraint("version_id", "target", name="pk_image_bases"),
    )
    op.create_table(
        "images",
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("repository", sa.Text(), nullable=False),
        sa.Column("served_from", sa.Text(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("base", sa.Text(), nullable=False),
        sa.Column("base_digest", sa.Text(), nullable=False),
        sa.Column("directory", sa.Text(), nullable=False),
        sa.Column("baked_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name="fk_images_version_id"),
        sa.PrimaryKeyConstraint("version_id", "target", "base_digest", name="pk_images"),
    )


def _bases() -> None:
    op.create_table(
        "release_bases",
        sa.Column("release_id", sa.Text(), nullable=False),
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("base", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("was", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["release_id"], ["releases.id"], name="fk_release_bases_release_id"),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name="fk_release_bases_version_id"),
        sa.PrimaryKeyConstraint("release_id", "version_id", "target", name="pk_release_bases"),
    )
    op.create_index("ix_release_bases_version_id_target", "release_bases", ["version_id", "target"])
    op.create_table(
        "bases_seen",
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("base", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.Column("since", sa.BigInteger(), nullable=True),
        sa.Column("looked_at", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False, server_default=""),
        sa.Column("failing_since", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("target", name="pk_bases_seen"),
    )
