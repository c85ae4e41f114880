"""Tables about serving: traffic shares, drift, drift resolutions, retirements, prewarming, load times. See `schema`."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from syncd.state.db import columns

# The progress of a staged release. Strategy and regions are kept as they were when it began.
rollouts: Final = sa.Table(
    "rollouts",
    columns.metadata,
    columns.text("release_id", sa.ForeignKey("releases.id")),
    columns.json("strategy"),
    columns.json("regions"),  # of its bindings
    columns.count("stage"),
    columns.timestamp("pause_since", nullable=True),
    columns.timestamp("pause_until", nullable=True),
    columns.timestamp("out_since", nullable=True),
    sa.Column("hurried", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.PrimaryKeyConstraint("release_id"),
)

# The share that an alias sends to a release's new version, as last intended; and that version's answers.
canaries: Final = sa.Table(
    "canaries",
    columns.metadata,
    columns.text("release_id", sa.ForeignKey("releases.id")),
    columns.text("binding"),
    columns.count("percent"),
    columns.count("stage"),
    columns.count("good"),
    columns.count("bad"),
    sa.PrimaryKeyConstraint("release_id", "binding"),
)

# Differences between the world and the record: open ones, and closed ones.
drifts: Final = sa.Table(
    "drifts",
    columns.metadata,
    columns.text("binding"),
    columns.text("what"),
    columns.timestamp("found_at"),
    columns.text("got"),
    columns.text("want"),
    columns.timestamp("good_at"),
    columns.timestamp("seen_at"),
    columns.timestamp("closed_at", nullable=True),
    columns.text("closed", default=""),
    sa.PrimaryKeyConstraint("binding", "what", "found_at"),
)
columns.unique_where("uq_drifts_binding_what_open", "closed_at IS NULL", drifts.c.binding, drifts.c.what)

# When each binding was last compared with the world, and when it last matched the record.
drift_looks: Final = sa.Table(
    "drift_looks",
    columns.metadata,
    columns.text("binding"),
    columns.timestamp("looked_at"),
    columns.timestamp("good_at", nullable=True),
    sa.PrimaryKeyConstraint("binding"),
)

# Bindings under resolution, manually or by policy, and those that share their function: no release claims them.
resolutions: Final = sa.Table(
    "mends",
    columns.metadata,
    columns.text("binding"),
    columns.text("subject"),
    columns.count("attempt"),
    columns.text("who"),
    columns.text("why"),
    columns.text("expects", nullable=True),
    columns.timestamp("began_at"),
    columns.timestamp("lease_until"),
    sa.PrimaryKeyConstraint("binding"),
)

# Versions that a person retired; `done_at` is empty while the retirement is under way.
retirements: Final = sa.Table(
    "retirements",
    columns.metadata,
    columns.text("version_id", sa.ForeignKey("versions.id")),
    columns.text("who"),
    columns.text("why"),
    columns.timestamp("asked_at"),
    columns.timestamp("done_at", nullable=True),
    sa.PrimaryKeyConstraint("version_id"),
)

# Repairs of placements, the newest of each; `done_at` is empty until it has ended. A worker has it until `due_at`.
repairs: Final = sa.Table(
    "repairs",
    columns.metadata,
    columns.text("version_id", sa.ForeignKey("versions.id")),
    columns.text("target"),
    columns.text("who"),
    columns.timestamp("asked_at"),
    columns.timestamp("due_at"),
    columns.count("failures"),
    columns.text("reason", default=""),
    columns.text("hint", default=""),
    columns.json("result"),
    columns.timestamp("done_at", nullable=True),
    sa.PrimaryKeyConstraint("version_id", "target"),
)

# Prewarmed instances, or such that are about to exist: the row is written before them and deleted after them.
warmths: Final = sa.Table(
    "warmths",
    columns.metadata,
    columns.text("binding"),
    columns.text("alias"),
    columns.text("release_id", sa.ForeignKey("releases.id")),
    columns.text("runtime"),
    columns.text("function"),
    columns.count("instances", None),
    columns.json("before"),
    columns.count("kept_s"),
    sa.Column("made", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("cooling", sa.Boolean, nullable=False, server_default=sa.false()),
    columns.timestamp("since"),
    sa.PrimaryKeyConstraint("binding", "alias"),
)

# Scaling settings of an alias before a release moved it.
scalings: Final = sa.Table(
    "scalings",
    columns.metadata,
    columns.text("release_id", sa.ForeignKey("releases.id")),
    columns.text("binding"),
    columns.json("settings"),
    sa.Column("compared", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.PrimaryKeyConstraint("release_id", "binding"),
)

load_times: Final = sa.Table(
    "load_times",
    columns.metadata,
    columns.text("release_id", sa.ForeignKey("releases.id")),
    columns.text("binding"),
    columns.text("version_id", sa.ForeignKey("versions.id")),
    columns.text("region"),
    columns.text("target_kind"),
    sa.Column("cold", sa.Boolean, nullable=False),
    columns.count("answer_ms", None),
    sa.Column("inside_ms", sa.BigInteger, nullable=True),
    sa.Column("load_ms", sa.BigInteger, nullable=True),
    columns.timestamp("at"),
    columns.json("stages"),
    sa.PrimaryKeyConstraint("release_id", "binding"),
    sa.Index(None, "version_id"),
)

# The outbox of notifications is `events` itself: the newest event that each notifier has sent or passed over.
notifiers: Final = sa.Table(
    "notifiers",
    columns.metadata,
    columns.text("name"),
    columns.count("event_id", None),
    columns.count("failures"),
    columns.text("reason", default=""),
    columns.timestamp("due_at"),
    sa.PrimaryKeyConstraint("name"),
)

# Notifications that were given up.
dead_letters: Final = sa.Table(
    "dead_letters",
    columns.metadata,
    columns.text("notifier"),
    columns.count("event_id", None),
    columns.text("text"),
    columns.text("reason"),
    columns.timestamp("at"),
    sa.PrimaryKeyConstraint("notifier", "event_id"),
)
