"""Receipt of a release: an in-toto statement of what was released, from where, on whose word, and where it serves.

Source: github.com/in-toto/attestation, spec/v1/statement.md. Numbers and times are text: implementations that go
through protocol buffers turn integers into doubles.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from syncd.artifact.manifest import SEAL_PATH, Manifest
from syncd.errors import Conflict
from syncd.plan.phases import PlacementPhase, ReleasePhase
from syncd.plan.topology import Topology
from syncd.state.content import images, placements, trust, versions
from syncd.state.records import Release, Version
from syncd.state.releases import approvals, audit, events, releases
from syncd.state.serving import flips, live
from syncd.trust.receipts import PREDICATE, STATEMENT

_SEALED: Final = "placement.sealed"


def statement(conn: sa.Connection, topology: Topology, release_id: str, now: datetime) -> bytes:
    """The statement about a release that went live, as JSON; links every settled event first, to name the newest.

    Raises:
        NotFound: There is no such release.
        Conflict: It is not live: there is nothing to give a receipt for.
    """
    release = releases.get(conn, release_id)
    if release.phase is not ReleasePhase.LIVE or release.version_id is None:
        raise Conflict(
            f"{release_id} is {release.phase.value}: a receipt is given for a release that went live",
            hint=f"`syncd show {release_id}` says what it waits for, or how it ended",
        )
    version = versions.get(conn, release.version_id)
    manifest = versions.manifest(conn, version.id)
    head = audit.extend(conn)
    predicate = {
        "release": _release(conn, release),
        "version": _version(version, manifest),
        "trust": _trust(conn, version),
        "placements": _placements(conn, topology, release, version),
        "serving": _serving(conn, topology, release),
        "history": {"event": str(head.event_id), "hash": head.hash},
        "issuedAt": now.isoformat(),
    }
    subjects = [_subject(manifest, SEAL_PATH, manifest.digest.hex)]
    subjects += [_subject(manifest, entry.path, entry.sha256.hex) for entry in manifest.entries]
    document = {"_type": STATEMENT, "subject": subjects, "predicateType": PREDICATE, "predicate": predicate}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def _subject(manifest: Manifest, path: str, sha256: str) -> dict[str, Any]:
    """A file by its path below a target's root. The manifest is the file of the seal."""
    return {"name": f"{manifest.directory}/{path}", "digest": {"sha256": sha256}}


def _release(conn: sa.Connection, release: Release) -> dict[str, Any]:
    approval = approvals.find(conn, release.id)
    return {
        "id": release.id,
        "kind": "rollback" if release.rollback else "release",
        "requestedBy": release.requested_by,
        "requestedAt": release.created_at.isoformat(),
        "approvedBy": approval.who if approval else "",
        "approvedAt": approval.at.isoformat() if approval else "",
    }


def _version(version: Version, manifest: Manifest) -> dict[str, Any]:
    return {
        "model": version.model,
        "name": version.name,
        "digest": version.digest.hex,
        "registry": version.registry,
        "pin": version.pin,
        "files": str(len(manifest.entries)),
        "bytes": str(manifest.size_bytes),
        "sizes": {entry.path: str(entry.size_bytes) for entry in manifest.entries},
    }


def _trust(conn: sa.Connection, version: Version) -> dict[str, Any]:
    verdict, waiver = trust.newest(conn, version.id), trust.waiver(conn, version.digest)
    found: dict[str, Any] = {}
    if verdict is not None:
        found["verdict"] = {
            "outcome": verdict.outcome.value,
            "policy": verdict.policy.hex,
            "tools": verdict.tools,
            "findings": [f"{each['subject']}: {each['reason']}" for each in _findings(verdict.findings)],
            "at": verdict.at.isoformat(),
        }
    if waiver is not None and waiver.used_by:
        found["waiver"] = {"who": waiver.who, "why": waiver.why, "usedBy": waiver.used_by}
    return found


def _findings(recorded: Mapping[str, object]) -> list[Mapping[str, str]]:
    found = recorded.get("findings")
    return found if isinstance(found, list) else []


def _placements(conn: sa.Connection, topology: Topology, release: Release, version: Version) -> list[dict[str, str]]:
    proven = {each.subject: each.at for each in events.of_release(conn, release.id) if each.kind == _SEALED}
    there = {target: image.reference for target, image in images.chosen(conn, version.id, {}).items()}
    return [
        {
            "target": each.target,
            "region": topology.regions.get(each.target, ""),
            "image": there.get(each.target, ""),
            "sealedAt": proven.get(each.target, each.updated_at).isoformat(),
        }
        for each in placements.of_version(conn, version.id)
        if each.phase is PlacementPhase.SEALED
    ]


def _serving(conn: sa.Connection, topology: Topology, release: Release) -> list[dict[str, str]]:
    serving = {each.binding: each for each in live.all(conn)}
    found = []
    for flip in flips.of_release(conn, release.id):
        binding, now = topology.bindings.get(flip.binding), serving.get(flip.binding)
        is_serving = now is not None and now.release_id == release.id
        found.append(
            {
                "binding": flip.binding,
                "region": topology.regions.get(binding.runtime, "") if binding else "",
                "function": binding.function if binding else "",
                "alias": binding.alias if binding else "",
                "functionVersion": flip.to_version or "",
                "replacedFunctionVersion": flip.from_version or "",
                "replacedVersion": flip.served.get(release.model, ""),
                "servesSince": now.since.isoformat() if now is not None and is_serving else "",
            }
        )
    return found
