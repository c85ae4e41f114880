"""Evidence about a version at its source: the format of each file by its content, and its model card."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import islice
from typing import Final, TypeVar

from syncd.artifact.manifest import Entry, Manifest
from syncd.artifact.names import FilePath, ModelName
from syncd.errors import Cancelled, Corrupt, Invalid, NotFound
from syncd.formats.identify import Identified, identify
from syncd.formats.kinds import IDENTIFIER
from syncd.formats.spans import SKIP_BYTES_MAX, NoRangesError, Passing, Pull, Ranges, Span, Steps
from syncd.registry.base import Registry, SignedRegistry
from syncd.registry.rules.file_filters import without_filter_mark
from syncd.trust.model_card import CARD, CARD_BYTES_MAX, read_card
from syncd.trust.policy import TrustEvidence, TrustRule
from syncd.values.source import Revision, read_up_to, skipped_bytes
from syncd.watchdog import mark_progress

T = TypeVar("T")
_CHUNK_BYTES: Final = 1 << 20
_UNSIGNED_MAX: Final = 50  # are named in a verdict
_UNKNOWN: Final = "unknown"
_ATTACHED_MAX: Final = 64  # signatures beside a revision are read
_PASSED: Final = Identified(_UNKNOWN, "what its format needs had passed already, and its source gives no ranges")


def gather(
    registry: Registry,
    source: str,
    pinned: tuple[ModelName, Revision],
    manifest: Manifest,
    rule: TrustRule,
    stop: threading.Event,
) -> TrustEvidence:
    """What a rule has to know of a version at a registry, whose name is `source`.

    Reads a few ranges of each file if the rule asks for formats, and the model card if it asks for what is in it.

    Raises:
        Cancelled: `stop` was set.
        NotFound, Unavailable, Conflict, Refused: As the registry's own methods say.
    """
    evidence = TrustEvidence(source, (IDENTIFIER,))
    reader = _Reader(registry, pinned, stop)
    if rule.formats:
        _identify_all(reader, manifest, evidence)
    if rule.licences or rule.metadata:
        card = next((entry for entry in manifest.entries if entry.path == CARD), None)
        if card is not None:
            evidence.card = read_card(reader.run(card, partial(_head, card)) or b"")
    if rule.asks_signature:
        _verify_signature(reader, manifest, rule, evidence)
    return evidence


def _verify_signature(reader: _Reader, manifest: Manifest, rule: TrustRule, evidence: TrustEvidence) -> None:
    from syncd.trust.model_signing import BUNDLE_BYTES_MAX, SIGNATURE, verify_signature  # noqa: PLC0415 -- cryptography

    entry = next((each for each in manifest.entries if each.path == SIGNATURE), None)
    if entry is None and rule.signers and reader.verify_attached(rule, evidence):
        return
    if entry is None or entry.size_bytes > BUNDLE_BYTES_MAX:
        missing = (
            "is missing: the version is not signed" if entry is None else f"has more than {BUNDLE_BYTES_MAX} bytes"
        )
        evidence.unsigned = ((SIGNATURE, missing),)
        return
    bundle = reader.run(entry, partial(_head, entry, BUNDLE_BYTES_MAX)) or b""
    if hashlib.sha256(bundle).hexdigest() != entry.sha256.hex:
        evidence.unsigned = ((SIGNATURE, "is not the file of the manifest: its bytes have another sha256"),)
        return
    files = {str(each.path): each.sha256.hex for each in manifest.entries}
    signers = list(rule.signers.values())
    evidence.signer, differences = verify_signature(bundle, signers, files, rule.authorities, rule.keyless)
    evidence.unsigned = differences[:_UNSIGNED_MAX]


def _identify_all(reader: _Reader, manifest: Manifest, evidence: TrustEvidence) -> None:
    unknown: dict[str, Identified] = {}
    needed: set[str] = set()
    for entry in manifest.entries:
        found = reader.run(entry, partial(identify, entry.path, entry.size_bytes)) or _PASSED
        if found.is_data:
            needed.update(found.needs)
        if found.format == _UNKNOWN:
            unknown[entry.path] = found
        else:
            evidence.add(entry.path, found.format, found.reason)
    for path, found in unknown.items():
        if path in needed:
            evidence.add(path, "raw", "")
        else:
            evidence.add(path, _UNKNOWN, found.reason)


def _head(entry: Entry, bytes_max: int = CARD_BYTES_MAX) -> Steps[bytes]:
    return (yield Span(0, min(entry.size_bytes, bytes_max)))


class _Reader:
    """Runs parsers over the files of a version: by ranges, or over all bytes where the source gives none."""

    def __init__(self, registry: Registry, pinned: tuple[ModelName, Revision], stop: threading.Event) -> None:
        self._registry = registry
        self._pinned = pinned
        self._stop = stop

    def verify_attached(self, rule: TrustRule, evidence: TrustEvidence) -> bool:
        """Whether the registry keeps signatures beside the revision. Notes the key of `signers` that made one."""
        from syncd.trust.cosign import verify_bundle, verify_payload  # noqa: PLC0415 -- cryptography, only where there are signers

        if not isinstance(self._registry, SignedRegistry):
            return False
        model, revision = self._pinned
        pin = without_filter_mark(revision)[0].pin
        wrong: list[tuple[str, str]] = []
        try:
            for each in islice(self._registry.attached(model, revision), _ATTACHED_MAX):
                mark_progress()
                try:
                    if each.is_bundle:
                        evidence.signer = verify_bundle(pin, each.payload, rule.signers)
                    else:
                        evidence.signer = verify_payload(pin, each.payload, each.signature, rule.signers)
                except (Invalid, Corrupt) as error:
                    wrong.append((each.place, error.message))
                    continue
                return True
        except (Invalid, Corrupt, NotFound) as error:
            wrong.append(("signature", error.message))
        if len(wrong) >= _ATTACHED_MAX:
            wrong.insert(0, ("signature", f"more than {_ATTACHED_MAX - 1} are there by other keys: no more are read"))
        evidence.unsigned = wrong
        return bool(wrong)

    def run(self, entry: Entry, make: Callable[[], Steps[T]]) -> T | None:
        """What a parser found; None if the source gives no ranges and the parser asks for what has passed."""
        self._check_stop(entry)
        mark_progress()
        try:
            with ExitStack() as opened:
                ranges = Ranges(entry.path, lambda offset_bytes: self._open(entry.path, offset_bytes, opened))
                return ranges.run(make())
        except NoRangesError:
            return self._read_through(entry, Passing(make()))

    def _open(self, path: FilePath, offset_bytes: int, opened: ExitStack) -> Pull:
        opened.close()
        stream = opened.enter_context(self._registry.open(*self._pinned, path, offset_bytes))
        if skipped_bytes(stream) > SKIP_BYTES_MAX:
            raise NoRangesError
        return lambda size_bytes: read_up_to(stream, size_bytes)

    def _read_through(self, entry: Entry, passing: Passing[T]) -> T | None:
        with self._registry.open(*self._pinned, entry.path) as stream:
            while piece := read_up_to(stream, _CHUNK_BYTES):
                self._check_stop(entry)
                passing.add(piece)
                mark_progress()
        return passing.end()

    def _check_stop(self, entry: Entry) -> None:
        if self._stop.is_set():
            raise Cancelled(f"{entry.path}: stopped while its format was identified")
