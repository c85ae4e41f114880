"""Verification: whether placements and aliases are as recorded. Read-only but for the results that the record keeps."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from sqlalchemy import Connection

from syncd import retry
from syncd.artifact.names import parse_model
from syncd.errors import RecordUnusable, Refused, SyncdError, Unavailable
from syncd.plan.binding import Binding
from syncd.plan.phases import PlacementPhase
from syncd.plan.topology import Topology
from syncd.reconcile.context import World
from syncd.reconcile.requests import operations
from syncd.reconcile.views.shapes.plans import (
    FindingDocument,
    LastVerificationDocument,
    ProofDocument,
    VerificationDocument,
)
from syncd.retry import Retry
from syncd.state.access import verifications
from syncd.state.content import images, placements, proofs, repairs, versions
from syncd.state.content.journal import SqlJournal
from syncd.state.records import Version
from syncd.state.serving import drifts, flips, live
from syncd.state.state import State
from syncd.targets.base import Depth, Inspection

_RETRY: Final = Retry(elapsed_max_s=30.0)  # a person waits for the answer
_SHOWN_MAX: Final = 8  # commands in the hint


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check. `wrong` is empty if all is as recorded.

    If it could not be read, the result is unknown: `unanswered` is the reason, `is_refused` a lack of permission.
    `remedy` is the command that resolves a difference, where there is one.
    """

    subject: str
    what: str
    wrong: str
    unanswered: str = ""
    is_refused: bool = False
    remedy: str = ""


def verify(world: World, model: str, depth: Depth, policy: Retry = _RETRY) -> Iterator[Finding]:
    """Compare every sealed version at every target, and every alias, with the record. Yields one finding each.

    Unanswered calls are retried by `policy`.

    Raises:
        RecordUnusable: The record is damaged.
    """
    name = parse_model(model)
    with world.state.read() as conn:
        sealed = [
            (version, placement.target)
            for version in versions.known(conn, name)
            for placement in placements.of_version(conn, version.id)
            if placement.phase is PlacementPhase.SEALED
        ]
    for version, target in sealed:
        yield check_copy(world, version, target, depth, policy)
    for binding in world.topology.bindings_of(name):
        what = f"{binding.function}:{binding.alias}"
        remedy = f"syncd restore {binding.name}"
        yield _found(binding.name, what, partial(_alias_fault, world, binding), policy, remedy)


def check_copy(world: World, version: Version, target: str, depth: Depth, policy: Retry = _RETRY) -> Finding:
    """Compare one sealed version at one target with the record. Raises as `verify`."""
    what = f"{version.model}@{version.name}"
    is_there = target in world.targets or target in world.images
    remedy = f"syncd repair {what} --target {target}" if is_there else ""
    return _found(target, what, partial(_placement_faults, world, version, target, depth), policy, remedy)


def document(findings: Collection[Finding]) -> VerificationDocument:
    """The results of a run."""
    rows = [_row(each) for each in dict.fromkeys(findings)]  # an alias that serves two models is one thing
    return VerificationDocument(good=_is_good(rows), findings=rows, hint=_hint(rows) or None)


def without_bytes(found: Mapping[str, Sequence[Finding]]) -> list[str]:
    """The models of which no version was read, because the record has none sealed."""
    return [model for model, rows in found.items() if not any(row.what.startswith(f"{model}@") for row in rows)]


def keep(state: State, found: Mapping[str, Sequence[Finding]], *, is_quick: bool) -> None:
    """Keep the results of a run by model, for readers elsewhere. A record that cannot be written keeps none."""
    with contextlib.suppress(Refused, Unavailable), state.write() as conn:
        for model, findings in found.items():
            rows = [_row(each).as_json() for each in findings]
            now = state.now(conn)
            verifications.write(conn, model, rows, now, is_quick=is_quick)
            named = {f"{each.model}@{each.name}": each.id for each in versions.known(conn, model)}
            for each in findings:
                if each.what in named and not (each.wrong or each.unanswered):
                    proofs.note(conn, named[each.what], each.subject, how="checksums" if is_quick else "bytes", now=now)


def last(state: State, topology: Topology, model: str | None = None) -> LastVerificationDocument:
    """The last results of one model or of all; contacts no cloud. What was never verified is not good.

    A difference is none any more once a later repair has read every byte and made the version whole, or the newest
    check of the alias found nothing.

    Raises:
        NotFound: No binding serves the model.
    """
    if model is not None:
        operations.check_served(topology, model)
    wanted = topology.models() if model is None else (model,)
    with state.read() as conn:
        found = verifications.read(conn, wanted)
        right_at = {name: _right_at(conn, name) for name in found}
        copies = [row for name in wanted for row in _proofs(conn, name)]
    every = [
        _by_now(FindingDocument.model_validate(row), each.at, right_at[name])
        for name, each in found.items()
        for row in each.findings
    ]
    rows = [*{each.model_dump_json(): each for each in every}.values()]
    missing = [name for name in wanted if name not in found]
    never = f"Never verified: {', '.join(missing)}. Run syncd verify beside the record." if missing else ""
    return LastVerificationDocument(
        good=_is_good(rows) and not missing,
        findings=rows,
        hint=" ".join(filter(None, (_hint(rows), never))) or None,
        verified_at={name: found[name].at if name in found else None for name in wanted},
        quick={name: each.is_quick for name, each in found.items()},
        proofs=copies,
    )


def _proofs(conn: Connection, model: str) -> list[ProofDocument]:
    """The last proof of each sealed copy of a model, the oldest first."""
    named = {each.id: each.name for each in versions.known(conn, model)}
    return [
        ProofDocument(
            model=model,
            version=named[each.version_id],
            target=each.target,
            proven_at=each.proven_at,
            how=each.how,
            checked_at=each.checked_at,
            fault=each.fault or None,
        )
        for each in proofs.of_versions(conn, list(named))
    ]


def _found(subject: str, what: str, check: Callable[[], str], policy: Retry, remedy: str) -> Finding:
    try:
        wrong = retry.call(policy, check)
        return Finding(subject, what, wrong, remedy=remedy if wrong else "")
    except RecordUnusable:  # no difference of what is checked: nothing can be said of that
        raise
    except (Unavailable, Refused) as error:
        return Finding(subject, what, "", error.message, isinstance(error, Refused))
    except SyncdError as error:
        return Finding(subject, what, error.message, remedy=remedy)


def _placement_faults(world: World, version: Version, target: str, depth: Depth) -> str:
    if target in world.images:
        return _image_faults(world, version, target, depth)
    there = world.targets.get(target)
    if there is None:
        return "the target is no longer configured"
    with world.state.read() as conn:
        manifest = versions.manifest(conn, version.id)
    return _faults(there.inspect(manifest, depth, SqlJournal(world.state, version.id, target)))


def _image_faults(world: World, version: Version, target: str, depth: Depth) -> str:
    with world.state.read() as conn:
        manifest = versions.manifest(conn, version.id)
        image = images.find(conn, version.id, target)
    if image is None:
        return "the record has no image of it"
    if image.repository != world.images[target].repository:
        return f"its image is in {image.repository}, which is no longer configured"
    return "; ".join(map(str, world.images[target].faults(manifest, image.tag, image.digest, depth)))


def _faults(found: Inspection) -> str:
    faults = [] if found.sealed else ["not sealed"]
    faults += [f"{path}: missing" for path in sorted(found.missing)]
    faults += [f"{path}: {wrong}" for path, wrong in sorted(found.wrong.items())]
    return "; ".join(faults)


def _alias_fault(world: World, binding: Binding) -> str:
    with world.state.read() as conn:
        recorded = live.get(conn, binding.name)
        holder = flips.holder(conn, binding.name)
        moving = flips.get(conn, holder, binding.name) if holder else None
    pointed = world.runtimes[binding.runtime].read(binding.function, binding.alias)
    if pointed.weights and not (moving and pointed.weights.keys() <= {moving.to_version}):
        return f"expected no traffic share, got {dict(pointed.weights)}"
    if recorded is not None and pointed.function_version != recorded.function_version:
        return f"expected function version {recorded.function_version} as recorded, got {pointed.function_version}"
    return ""


def _row(finding: Finding) -> FindingDocument:
    made = FindingDocument(
        subject=finding.subject,
        what=finding.what,
        wrong=finding.wrong or None,
        unanswered=finding.unanswered or None,
        remedy=finding.remedy or None,
    )
    return made.model_copy(update={"refused": True}) if finding.is_refused else made


def _right_at(conn: Connection, model: str) -> dict[tuple[str, str], datetime]:
    """When each version was found whole at a target by a repair, and each alias as recorded by its newest check."""
    named = {each.id: f"{each.model}@{each.name}" for each in versions.known(conn, model)}
    found = {
        (each.target, named[each.version_id]): each.done_at
        for each in repairs.of_versions(conn, list(named))
        if each.done_at is not None and each.phase != "failed"
    }
    checks = drifts.last_scans(conn).values()
    return found | {(each.binding, ""): each.looked_at for each in checks if each.good_at == each.looked_at}


def _by_now(row: FindingDocument, at: datetime, right_at: Mapping[tuple[str, str], datetime]) -> FindingDocument:
    """A finding of a run that ended `at`, after what has been found right since."""
    later = right_at.get((row.subject, row.what if "@" in row.what else ""))
    if later is None or later <= at or not (row.wrong or row.unanswered):
        return row
    return FindingDocument(subject=row.subject, what=row.what, wrong=None, unanswered=None, resolved_at=later)


def _is_good(rows: Collection[FindingDocument]) -> bool:
    return not any(each.wrong or each.unanswered for each in rows)


def _hint(rows: Collection[FindingDocument]) -> str:
    if any(each.wrong for each in rows):
        remedies = list(dict.fromkeys(each.remedy for each in rows if each.wrong and each.remedy))
        more = f"; and {len(remedies) - _SHOWN_MAX} more" if len(remedies) > _SHOWN_MAX else ""
        said = f" To resolve: {'; '.join(remedies[:_SHOWN_MAX])}{more}" if remedies else ""
        return f"Each difference was read twice.{said}"
    if any(each.refused for each in rows):
        return "Not everything was verified: grant read access with the credentials in use, then run it again."
    is_whole = not any(each.unanswered for each in rows)
    return "" if is_whole else "Not everything was verified: run it again when the places named above answer."
