"""Results of `verify`: of a run that just ended, and the last ones that the record has."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from syncd.errors import Refused, Unavailable
from syncd.plan.topology import Topology
from syncd.reconcile.requests import operations
from syncd.reconcile.views.plans.plan import Finding
from syncd.reconcile.views.shapes.plans import FindingDocument, LastVerificationDocument, VerificationDocument
from syncd.state.access import verifications
from syncd.state.state import State

_SHOWN_MAX: Final = 8  # commands in the hint


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
            verifications.write(conn, model, rows, state.now(conn), is_quick=is_quick)


def last(state: State, topology: Topology, model: str | None = None) -> LastVerificationDocument:
    """The last results of one model or of all; contacts no cloud. What was never verified is not good.

    Raises:
        NotFound: No binding serves the model.
    """
    if model is not None:
        operations.check_served(topology, model)
    wanted = topology.models() if model is None else (model,)
    with state.read() as conn:
        found = verifications.read(conn, wanted)
    every = [FindingDocument.model_validate(row) for each in found.values() for row in each.findings]
    rows = [*{each.model_dump_json(): each for each in every}.values()]
    missing = [name for name in wanted if name not in found]
    never = f"Never verified: {', '.join(missing)}. Run syncd verify beside the record." if missing else ""
    return LastVerificationDocument(
        good=_is_good(rows) and not missing,
        findings=rows,
        hint=" ".join(filter(None, (_hint(rows), never))) or None,
        verified_at={name: found[name].at if name in found else None for name in wanted},
        quick={name: each.is_quick for name, each in found.items()},
    )


def _row(finding: Finding) -> FindingDocument:
    made = FindingDocument(
        subject=finding.subject,
        what=finding.what,
        wrong=finding.wrong or None,
        unanswered=finding.unanswered or None,
        remedy=finding.remedy or None,
    )
    return made.model_copy(update={"refused": True}) if finding.is_refused else made


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
