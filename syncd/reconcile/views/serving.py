"""What the bindings serve by the record, read in two statements for any number of models."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from syncd.plan.topology import Topology
from syncd.state.content import versions
from syncd.state.records import Live, Version
from syncd.state.serving import live


@dataclass(frozen=True, slots=True)
class ServingSnapshot:
    """The live row of each binding, and the versions that they name."""

    live: Mapping[str, Live]
    versions: Mapping[str, Version]

    @classmethod
    def read(cls, conn: Connection, topology: Topology, models: Collection[str] | None = None) -> ServingSnapshot:
        """Read the bindings of some models, or of all. The same number of statements either way."""
        if models is None:
            recorded = {each.binding: each for each in live.all(conn)}
        else:
            recorded = live.of(conn, [binding.name for model in models for binding in topology.bindings_of(model)])
        wanted = {version_id for each in recorded.values() for version_id in each.models.values()}
        return cls(recorded, versions.of(conn, wanted))

    def version_of(self, binding: str, model: str) -> Version | None:
        """The version of a model that a binding serves; None if syncd never flipped it there."""
        recorded = self.live.get(binding)
        return self.versions.get(recorded.models.get(model, "")) if recorded else None

    def only_version(self, topology: Topology, model: str) -> Version | None:
        """The version that the bindings of a model serve; None if none does, or if they serve several."""
        found = (self.version_of(binding.name, model) for binding in topology.bindings_of(model))
        distinct = {version.id: version for version in found if version is not None}
        return next(iter(distinct.values())) if len(distinct) == 1 else None
