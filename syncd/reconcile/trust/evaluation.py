"""Evaluation of the trust policy: the verdict of a release, waivers, and what is live and would fail now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from syncd.artifact.digest import Digest
from syncd.artifact.manifest import Manifest
from syncd.errors import Invalid
from syncd.formats.kinds import IDENTIFIER
from syncd.plan.topology import Topology
from syncd.reconcile.context import World
from syncd.state.content import trust, versions
from syncd.state.content.trust import TrustVerdict, TrustWaiver
from syncd.state.records import Version
from syncd.state.serving import live
from syncd.trust.policy import Mode, Outcome, TrustEvidence, TrustFinding, TrustPolicy, TrustRule, evaluate

_FINDINGS_MAX: Final = 50  # are recorded; their number always is
_SHOWN_MAX: Final = 3


def outcome_of(
    rule: TrustRule, found: Sequence[TrustFinding], waiver: TrustWaiver | None, release_id: str, now: datetime
) -> Outcome:
    """The end of an evaluation. A waiver counts where it lets this release through."""
    if not found:
        return Outcome.PASSED
    if rule.mode is Mode.WARN:
        return Outcome.WARNED
    return Outcome.WAIVED if waiver is not None and waiver.lets_through(release_id, now) else Outcome.REFUSED


def decide(
    conn: sa.Connection, rule: TrustRule, version: Version, evidence: TrustEvidence, release_id: str, now: datetime
) -> tuple[Outcome, Sequence[TrustFinding]]:
    """Evaluate and record the verdict on the version of a release; a waiver that lets it through is used up.

    Raises:
        Conflict: Another release has used the waiver meanwhile.
    """
    found = evaluate(rule, evidence)
    waiver = trust.waiver(conn, version.digest)
    outcome = outcome_of(rule, found, waiver, release_id, now)
    if outcome is Outcome.WAIVED and waiver is not None:
        trust.use(conn, waiver, release_id, now)
    trust.record(
        conn,
        TrustVerdict(
            version.digest,
            rule.digest,
            " ".join(evidence.tools),
            version.model,
            version.id,
            outcome,
            {"count": len(found), "findings": [described(each) for each in found[:_FINDINGS_MAX]]},
            evidence.as_json(),
            release_id,
            now,
        ),
    )
    return outcome, found


@dataclass(frozen=True, slots=True)
class TrustForecast:
    """What the policy would say of a release now."""

    outcome: Outcome
    policy: Digest
    findings: Sequence[TrustFinding]


def foresee(world: World, rule: TrustRule, manifest: Manifest, evidence: TrustEvidence) -> TrustForecast:
    """Evaluate a version without recording anything; an unused waiver counts."""
    found = evaluate(rule, evidence)
    with world.state.read() as conn:
        waiver, now = trust.waiver(conn, manifest.digest), world.state.now(conn)
    return TrustForecast(outcome_of(rule, found, waiver, "", now), rule.digest, found)


def described(found: TrustFinding) -> dict[str, str]:
    """A finding as JSON."""
    return {
        "requirement": found.requirement,
        "subject": found.subject,
        "reason": found.reason,
        "remedy": found.remedy,
    }


def refusal(model: str, name: str, found: Sequence[TrustFinding]) -> Invalid:
    """The error of a refused version: what is unmet, and what unblocks it."""
    shown = "; ".join(str(each) for each in found[:_SHOWN_MAX])
    more = f"; and {len(found) - _SHOWN_MAX} more" if len(found) > _SHOWN_MAX else ""
    waive = f"`syncd waive {model}@{name} --why REASON --hours 24` lets one release of these bytes through"
    return Invalid(f"{model}@{name} is refused by policy.trust: {shown}{more}", hint=f"{found[0].remedy}; or {waive}")


@dataclass(frozen=True, slots=True)
class LiveTrust:
    """A live version under the policy of now. `findings` would refuse its next release; it is not moved.

    `is_stale`: it was never evaluated, or by other tools, so that only its next release shows what they find.
    """

    version_id: str
    digest: Digest
    bindings: Sequence[str]
    findings: Sequence[TrustFinding]
    is_stale: bool


def evaluate_live(conn: sa.Connection, policy: TrustPolicy, topology: Topology) -> list[LiveTrust]:
    """Evaluate every live version anew, from the evidence that the record has of it. No byte is read."""
    serving: dict[str, list[str]] = {}
    for binding in sorted(topology.bindings):
        recorded = live.get(conn, binding)
        for version_id in (recorded.models if recorded else {}).values():
            serving.setdefault(version_id, []).append(binding)
    found = []
    for version_id, bindings in sorted(serving.items()):
        version = versions.get(conn, version_id)
        rule = policy.for_model(version.model)
        if rule is None:
            continue
        verdict = trust.newest(conn, version_id)
        evidence = TrustEvidence(version.registry) if verdict is None else TrustEvidence.read(verdict.evidence)
        unmet = evaluate(rule, evidence) if verdict is not None else ()
        found.append(LiveTrust(version_id, version.digest, bindings, unmet, IDENTIFIER not in evidence.tools))
    return found
