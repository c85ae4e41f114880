"""The page of the registries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from syncd.plan.topology import Topology
from syncd.reconcile.views.console.shapes import RecordedDeliveryDocument, RegistryPageDocument
from syncd.reconcile.views.shapes.serving import ComponentHealthDocument
from syncd.state.access import deliveries
from syncd.state.access.component_health import ComponentHealth
from syncd.state.state import State

DELIVERIES_MAX: Final = 100


def registries_page(state: State, topology: Topology, current: Sequence[ComponentHealth]) -> list[RegistryPageDocument]:
    """The registries, by the daemon's own checks and the record; asks none of them."""
    with state.read() as conn:
        kept = deliveries.newest(conn, DELIVERIES_MAX)
    found: dict[str, list[RecordedDeliveryDocument]] = defaultdict(list)
    for each in kept:
        found[each.registry].append(
            RecordedDeliveryDocument(
                hook=each.hook,
                subject=each.subject,
                place=each.place,
                ref=each.ref,
                received_at=each.received_at,
                polled_at=each.looked_at,
            )
        )
    health = {each.name: each for each in current if each.section == "registries"}
    return [
        RegistryPageDocument(
            registry=name,
            patterns=list(patterns),
            health=ComponentHealthDocument.model_validate(health[name]) if name in health else None,
            deliveries=found[name],
        )
        for name, patterns in topology.registries.items()
    ]
