"""World survey: whether any function, alias or target carries something of syncd's already."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from syncd.errors import NotFound, SyncdError
from syncd.plan.binding import Binding
from syncd.reconcile.adoption.hold_copies import DIRECTORY
from syncd.reconcile.context import World
from syncd.state.access import record_info
from syncd.state.state import State

_AT_ONCE: Final = 16
DESCRIPTION: Final = "syncd r-"  # how the description of a function version that syncd published begins


def switch_off_if_used(world: World) -> str:
    """Ask every target and function, and stop automatic releases where one carries something of syncd's.

    Returns the reason, "" where nothing does: then it is a first install, and automatic releases are on.
    """
    reason = _reason(world)
    if reason:
        with world.state.write() as conn:
            record_info.switch_automatic_off(conn, reason, world.state.now(conn))
    return reason


def why_off(state: State) -> str:
    """Why automatic releases are off, by the record; "" where they are on."""
    with state.read() as conn:
        return record_info.automatic_off(conn)


def _reason(world: World) -> str:
    asks: list[tuple[str, Callable[[], str]]] = [
        *((f"target {name}", partial(_of_target, world, name)) for name in world.targets),
        *((f"binding {each.name}", partial(_of_binding, world, each)) for each in world.topology.bindings.values()),
    ]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = list(pool.map(lambda ask: _asked(*ask), asks))
    # A place that carries something says more than one that could not be asked.
    return next((reason for certain, reason in sorted(found, key=lambda each: not each[0]) if reason), "")


def _asked(what: str, ask: Callable[[], str]) -> tuple[bool, str]:
    try:
        return True, ask()
    except NotFound:  # no such bucket or function: nothing of ours is in it
        return True, ""
    except SyncdError as error:
        return False, f"{what} could not be asked: {error.message}"


def _of_target(world: World, name: str) -> str:
    target = world.targets[name]
    if any(True for _ in target.notes(DIRECTORY)):
        return f"target {name} has copies of holds"
    for manifest in target.sealed():
        return f"target {name} has {manifest}"
    return ""


def _of_binding(world: World, binding: Binding) -> str:
    runtime = world.runtimes[binding.runtime]
    for number, description in runtime.descriptions(binding.function):
        if description.startswith(DESCRIPTION):
            return f"{binding.function}:{number} in {world.topology.regions[binding.runtime]} was published by syncd"
    if runtime.read(binding.function, binding.candidate).function_version is not None:
        return f"{binding.function} in {world.topology.regions[binding.runtime]} has the alias {binding.candidate}"
    return ""
