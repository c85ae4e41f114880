"""Scrub: every sealed copy is proven again on a clock, the oldest proof first; what is damaged is repaired.

A copy is only read: it is the repair that removes a damaged file, after a good one was read.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog

from syncd.plan.phases import PlacementPhase
from syncd.reconcile.context import Context
from syncd.reconcile.views import verification
from syncd.state.content import placements, proofs, repairs, versions
from syncd.state.content.proofs import Proof
from syncd.state.records import Version
from syncd.targets.base import Depth
from syncd.values.function import MountKind

log = structlog.get_logger("syncd.scrub")

SCRUBBER: Final = "scrub"  # who repairs are requested by
SILENT_S: Final = 600.0  # until a copy is tried again that could not be read


@dataclass(frozen=True, slots=True)
class ScrubPolicy:
    """How old a proof may become, and how many bytes a second are read on average; 0 for no limit.

    `reads_oss`: the bytes of objects are read and hashed; else the checksum is compared that OSS keeps of them.
    """

    period_s: float
    bandwidth: int = 0
    reads_oss: bool = True


class Scrub:
    """The scrub of one process. Each call proves the copy that is due, if one is."""

    def __init__(self, context: Context, policy: ScrubPolicy, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._context = context
        self._policy = policy
        self._monotonic = monotonic
        self._free_at = 0.0  # by the bandwidth
        self._silent_until: dict[tuple[str, str], float] = {}

    def __call__(self) -> bool:
        """Prove one copy. Whether one was due."""
        began = self._monotonic()
        if began < self._free_at:
            return False
        found = self._next(began)
        if found is None:
            return False
        proof, version = found
        depth = self._depth(proof.target)
        finding = verification.check_copy(self._context, version, proof.target, depth)
        if finding.unanswered:
            self._silent_until[proof.version_id, proof.target] = self._monotonic() + SILENT_S
            log.warning("copy.unanswered", message="A copy could not be read; it is tried again.",
                        target=proof.target, version=version.id, error=finding.unanswered)  # fmt: skip
            return True
        self._record(proof, version, finding.wrong, depth)
        if self._policy.bandwidth and depth is Depth.BYTES:
            self._free_at = began + version.size_bytes / self._policy.bandwidth
        return True

    def _next(self, now_s: float) -> tuple[Proof, Version] | None:
        places = self._context.targets.keys() | self._context.images.keys()
        with self._context.state.read() as conn:
            before = self._context.state.now(conn) - timedelta(seconds=self._policy.period_s)
            for proof in proofs.due(conn, before):
                is_silent = self._silent_until.get((proof.version_id, proof.target), 0.0) > now_s
                if proof.target in places and not is_silent:
                    return proof, versions.get(conn, proof.version_id)
        return None

    def _depth(self, target: str) -> Depth:
        place = self._context.topology.places.get(target)
        is_oss = place is not None and place.kind is MountKind.OSS
        return Depth.CHECKSUMS if is_oss and not self._policy.reads_oss else Depth.BYTES

    def _record(self, proof: Proof, version: Version, fault: str, depth: Depth) -> None:
        is_last = False
        with self._context.state.write() as conn:
            now = self._context.state.now(conn)
            placed = placements.get(conn, version.id, proof.target)
            if placed.phase is not PlacementPhase.SEALED:  # it was retired, or is repaired by a release, meanwhile
                return
            if fault:
                proofs.note_fault(conn, version.id, proof.target, fault, now)
                is_last = proofs.note_lost(conn, version, now)
                repairs.begin(conn, version, proof.target, SCRUBBER, now)
            else:
                how = "checksums" if depth is Depth.CHECKSUMS else "bytes"
                proofs.note(conn, version.id, proof.target, how=how, now=now)
        told = {"model": version.model, "version": version.name, "target": proof.target}
        if fault:
            log.error("copy.damaged", message="A sealed copy is damaged; it is being repaired.", **told, fault=fault)
            if is_last:
                log.critical("version.no_good_copy", message="Every copy of a version is damaged; nothing is deleted.",
                             model=version.model, version=version.name)  # fmt: skip
        else:
            log.info("copy.proven", message="A sealed copy was proven again.", **told, bytes=version.size_bytes)
