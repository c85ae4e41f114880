"""Quota check of a request: what its candidates and all that is live would hold together in each region."""

from __future__ import annotations

from contextlib import suppress

from syncd.errors import Conflict, Failed, NotFound, Refused, Unavailable
from syncd.plan.binding import Binding
from syncd.plan.quota import PUBLISHED, HeldInstances, Quota, excess
from syncd.reconcile.context import World


def check_quotas(world: World, model: str) -> None:
    """Refuse a release of the model that would hold more instances or GPUs than a configured quota.

    Counted are the minimum instances of every alias of the region, and what `warm` asks for: for the candidates, and
    for the version before where `rollback_warm` keeps it. A region without a quota, or that does not answer, is not
    checked: a copy need not wait for it. A rollback is never checked.

    Raises:
        Conflict: A quota would be exceeded; the message has the arithmetic.
    """
    for runtime in _runtimes(world, model):
        quota = world.quotas.get(runtime, Quota())
        if not quota.is_configured:
            continue
        with suppress(Unavailable, Refused, Failed):
            found = excess(quota, held(world, model, runtime))
            if found:
                raise Conflict(
                    f"{runtime}: {found}",
                    hint="lower `warm` of the bindings or the minimum instances, or raise the account's quota and"
                    f" then instances_max or gpus_max of [runtimes.{runtime}]",
                )


def unchecked(world: World, model: str) -> list[str]:
    """A warning for each runtime whose quota could not be checked, or that has none where instances would be held."""
    found = []
    for runtime in _runtimes(world, model):
        quota = world.quotas.get(runtime, Quota())
        try:
            total = sum(each.instances for each in held(world, model, runtime))
        except (Unavailable, Refused, Failed) as error:
            found += [f"{runtime}: the quota was not checked: {error.message}"] if quota.is_configured else []
            continue
        if total and not quota.is_configured:
            found.append(f"{runtime}: {total} instances would be held and no quota is configured; {PUBLISHED}")
    return found


def held(world: World, model: str, runtime: str) -> list[HeldInstances]:
    """What is held in a region while a release of the model is under way. Raises as `Runtime.scaling`, but NotFound."""
    found = []
    for binding in world.topology.bindings.values():
        if binding.runtime == runtime:
            found += _of(world, binding, is_released=any(bound.model == model for bound in binding.models))
    return found


def _of(world: World, binding: Binding, *, is_released: bool) -> list[HeldInstances]:
    there = world.runtimes[binding.runtime]
    try:
        card = there.instance(binding.function).card
    except NotFound:  # the release will say so
        return []
    live = 0
    with suppress(NotFound):  # no alias yet
        live = there.scaling(binding.function, binding.alias).target
    found = [HeldInstances(f"{binding.function}:{binding.alias} live", live, card)]
    if is_released and binding.warmth:
        warm = binding.warmth.instances
        found.append(HeldInstances(f"{binding.function}:{binding.candidate} candidate", warm, card))
        if binding.warmth.rollback_s:
            found.append(HeldInstances(f"{binding.function}:{binding.warmth.previous} previous", warm, card))
    return found


def _runtimes(world: World, model: str) -> list[str]:
    return list(dict.fromkeys(binding.runtime for binding in world.topology.bindings_of(model)))
