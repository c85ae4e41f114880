"""Import of an exported record, after what it says is live has been compared with the functions' aliases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, Final

import structlog

from syncd.errors import Conflict, NotFound, SyncdError
from syncd.plan.binding import Binding
from syncd.plan.drift import DELETED, NO_ALIAS, NOTHING
from syncd.reconcile.adoption.survey import DESCRIPTION
from syncd.reconcile.context import World
from syncd.state.access import record_info
from syncd.state.export.file import ExportHeader
from syncd.state.export.record import ServedByFile
from syncd.state.export.record import import_record as import_rows

log = structlog.get_logger("syncd.record")

_AT_ONCE: Final = 16
_SHOWN: Final = 3
_LISTED_MAX: Final = 50  # `descriptions` has at most so many versions


@dataclass(frozen=True, slots=True)
class Contradiction:
    """An alias that is not as the file says: what the world has, and what the file has."""

    binding: str
    alias: str  # with its function and region
    got: str
    want: str

    def __str__(self) -> str:
        """In one line."""
        return f"{self.binding}: {self.alias}: got {self.got}, the file says {self.want}"

    def document(self) -> dict[str, str]:
        """For JSON."""
        return {"binding": self.binding, "alias": self.alias, "got": self.got, "want": self.want}


class ImportContradictedError(Conflict):
    """The world is not as the file says, and nobody has accepted that. Nothing was written."""

    def __init__(self, message: str, found: Sequence[Contradiction], *, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.details = {"differences": [each.document() for each in found]}


def contradictions(world: World, served: Mapping[str, ServedByFile]) -> list[Contradiction]:
    """Ask every function of the configuration. A region that does not answer contradicts too: nothing is known of it.

    An alias that a release in flight is moving may be where it was or where it goes. A binding that the file does
    not know contradicts if its alias points at a function version that syncd published.
    """
    bindings = world.topology.bindings.values()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = pool.map(lambda each: _asked(world, each, served.get(each.name, ServedByFile())), bindings)
        return [each for each in found if each is not None]


def check_accepted(found: Sequence[Contradiction], *, is_accepted: bool) -> None:
    """Raises ImportContradictedError: there are contradictions, and they are not accepted."""
    if not found or is_accepted:
        return
    hint = (
        "nothing was written; with --accept-differences the record is imported, automatic releases are off, and "
        "`syncd db adopt-world` takes over what serves"
    )
    raise ImportContradictedError(f"the world is not as the file says: {_listed(found)}", found, hint=hint)


def import_record(
    world: World,
    stream: BinaryIO,
    name: str,
    shown: str,
    found: Sequence[Contradiction],
    on_row: Callable[[], object],
) -> ExportHeader:
    """Write every row of the file in one transaction. Where the world contradicts, automatic releases are off after it.

    Raises:
        Conflict: The record has rows, or another process works on it.
        Invalid: The file was cut or changed, or the database refuses a row; the message has the line.
    """
    with world.state.write() as conn:
        header = import_rows(conn, stream, name, shown, on_row)
        if found:
            reason = f"a record was imported although the world differs: {_listed(found)}"
            record_info.switch_automatic_off(conn, reason, world.state.now(conn))
    log.warning("record.imported", message="A record was imported.", file=name, rows=header.rows, exported_at=header.at)
    return header


def _listed(found: Sequence[Contradiction]) -> str:
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return "; ".join(str(each) for each in found[:_SHOWN]) + more


def _asked(world: World, binding: Binding, served: ServedByFile) -> Contradiction | None:
    alias = f"{binding.alias} of {binding.function} in {world.topology.regions[binding.runtime]}"
    of = partial(Contradiction, binding.name, alias)
    want = (served.live or NO_ALIAS) if served.is_recorded else NOTHING
    try:
        got = _differs(world, binding, served)
    except NotFound:
        return of("no function", want) if served.live is not None else None
    except SyncdError as error:
        return of(f"no answer: {error.message}", want)
    return of(got, want) if got else None


def _differs(world: World, binding: Binding, served: ServedByFile) -> str:
    """What the alias has that the file does not expect; "" if it is as it says."""
    runtime = world.runtimes[binding.runtime]
    pointed = runtime.read(binding.function, binding.alias)
    published = dict(runtime.descriptions(binding.function))
    there = pointed.function_version
    if not served.is_recorded and there not in served.moving_to:
        is_ours = there is not None and published.get(there, "").startswith(DESCRIPTION)
        return f"{there}, which syncd published" if is_ours else ""
    if there not in served.may_be:
        return there or NO_ALIAS
    if there is not None and there not in published and len(published) < _LISTED_MAX:
        return f"{there}, which is {DELETED}"
    if pointed.weights.keys() - served.moving_to:
        return str(pointed)
    return ""
