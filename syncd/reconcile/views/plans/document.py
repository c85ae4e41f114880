"""The plan of a release that is named as in `syncd publish`, for `syncd plan` and the API."""

from __future__ import annotations

from typing import Any

from syncd.errors import NotFound
from syncd.reconcile.context import World
from syncd.reconcile.requests.operations import check_known, check_served
from syncd.reconcile.requests.version_names import named_version
from syncd.reconcile.views.plans.estimate import estimates
from syncd.reconcile.views.plans.plan import document, plan


def plan_document(world: World, name: str) -> dict[str, Any]:
    """What a release of the named version would move and flip, with minutes and money, as JSON. Contacts every place.

    Raises:
        Invalid, NotFound: As `named_version`, and where no binding serves the model.
        Unavailable: A place did not answer.
    """
    named = named_version(world, name)
    check_served(world.topology, named.model)
    try:
        found = plan(world, world.topology.registry_of(named.model), named.model, named.version)
    except NotFound:
        check_known(world, named.model, named.version)  # the error that lists what there is
        raise
    sends = [
        (each.target, each.send_bytes, 0 if each.sealed else found.size_bytes - each.kept_bytes)
        for each in found.targets
    ]
    return document(found, estimates(world, named.model, sends))
