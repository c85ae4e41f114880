"""Trust policy: what a version has to be before a byte of it becomes visible, and the reasons why one is not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Final

from syncd.artifact.digest import Digest
from syncd.formats.kinds import CODE_CARRYING, DATA_ONLY, MALFORMED
from syncd.values.patterns import selects

DATA_ONLY_FORMATS: Final = "data-only"
"""Stands for every format that holds data alone."""

FORMATS: Final = (DATA_ONLY_FORMATS, *sorted(DATA_ONLY | CODE_CARRYING))
_NAMED_MAX: Final = 8  # paths of one format are kept: enough for a person, and the same for a million files


class Mode(StrEnum):
    """What a failed evaluation does."""

    ENFORCE = "enforce"  # the release stops before a byte is visible
    WARN = "warn"  # it is recorded and logged
    OFF = "off"  # nothing is evaluated


class Outcome(StrEnum):
    """The end of an evaluation."""

    PASSED = "passed"
    WARNED = "warned"
    WAIVED = "waived"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class SigningAuthority:
    """Roots whose certificates sign, as PEM by the SHA-256 of each, and the identities that they may name."""

    roots: Mapping[str, str]
    identities: Sequence[str]


@dataclass(frozen=True, slots=True)
class KeylessAuthority:
    """A Sigstore: its trusted root as JSON with the SHA-256 of it, and the identities that an issuer may vouch for."""

    trusted_root: str
    root: str
    issuer: str
    identities: Sequence[str]


def signer_name(identity: str, root: str) -> str:
    """A signer with a certificate, in the record: its identity, and the SHA-256 of the root that vouches for it."""
    return f"{identity} by root {root}"


def keyless_name(identity: str, issuer: str) -> str:
    """An identity with the issuer that vouches for it."""
    return f"{identity} of {issuer}"


@dataclass(frozen=True, slots=True)
class TrustRule:
    """Requirements for the models that `models` selects. An empty requirement asks for nothing.

    `metadata` are values by key of the model card's front matter.
    """

    models: Sequence[str]
    mode: Mode
    formats: Sequence[str] = ()
    sources: Sequence[str] = ()
    licences: Sequence[str] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    signers: Mapping[str, str] = field(default_factory=dict)  # public keys as PEM, by their ids
    authorities: Sequence[SigningAuthority] = ()
    keyless: Sequence[KeylessAuthority] = ()

    @property
    def asks_signature(self) -> bool:
        """Whether a version has to be signed."""
        return bool(self.signers or self.authorities or self.keyless)

    def accepts(self, signer: str) -> bool:
        """Whether a signature by this key, or by this identity of a root, counts."""
        pairs = [(name, root) for each in self.authorities for name in each.identities for root in each.roots]
        pairs += [(keyless_name(name, each.issuer), each.root) for each in self.keyless for name in each.identities]
        return signer in self.signers or any(signer == signer_name(*pair) for pair in pairs)

    @property
    def digest(self) -> Digest:
        """The policy's version: it changes with each requirement, and with nothing else."""
        asked = {key: value for key, value in asdict(self).items() if key not in {"models", "mode"} and value}
        return Digest(hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest())

    def allows(self, form: str) -> bool:
        """Whether a file of this format may be in a version."""
        if form == MALFORMED:
            return not self.formats
        return not self.formats or form in self.formats or (DATA_ONLY_FORMATS in self.formats and form in DATA_ONLY)


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    """The rules, in order. Without any, nothing is evaluated and nothing is read."""

    rules: Sequence[TrustRule] = ()

    def for_model(self, model: str) -> TrustRule | None:
        """The first rule that selects a model; None where it is off."""
        for rule in self.rules:
            if any(selects(pattern, model) for pattern in rule.models):
                return None if rule.mode is Mode.OFF else rule
        return None


@dataclass(slots=True)
class TrustEvidence:
    """What is known of a version: the facts that a rule is evaluated on, without its bytes.

    `formats` has the number of files of each format, `examples` some of their paths with the reason of each.
    """

    source: str
    tools: Sequence[str] = ()
    formats: dict[str, int] = field(default_factory=dict)
    examples: dict[str, dict[str, str]] = field(default_factory=dict)
    card: Mapping[str, str] = field(default_factory=dict)
    signer: str = ""  # the id of the key that signed the version, or the identity as by `signer_name`
    unsigned: Sequence[Sequence[str]] = ()  # paths, each with what is wrong with its signature

    def add(self, path: str, form: str, reason: str) -> None:
        """Note the format of a file."""
        self.formats[form] = self.formats.get(form, 0) + 1
        named = self.examples.setdefault(form, {})
        if len(named) < _NAMED_MAX:
            named[path] = reason

    def as_json(self) -> dict[str, object]:
        """The facts as JSON, for the record."""
        return asdict(self)

    @classmethod
    def read(cls, facts: Mapping[str, Any]) -> TrustEvidence:
        """What `as_json` gave, of this or another release of syncd: facts that this one does not know are left out."""
        known = {each.name for each in fields(cls)}
        return cls(**{"source": "", **{key: value for key, value in facts.items() if key in known}})


@dataclass(frozen=True, slots=True)
class TrustFinding:
    """One unmet requirement: which, of what, why, and what would meet it."""

    requirement: str
    subject: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.reason}"


def evaluate(rule: TrustRule, evidence: TrustEvidence) -> tuple[TrustFinding, ...]:
    """Every unmet requirement of a rule, in a fixed order."""
    return (*_source(rule, evidence), *_signatures(rule, evidence), *_formats(rule, evidence), *_card(rule, evidence))


def _source(rule: TrustRule, evidence: TrustEvidence) -> Iterator[TrustFinding]:
    if rule.sources and evidence.source not in rule.sources:
        reason = f"expected one of the registries {_listed(rule.sources)}, got {evidence.source!r}"
        yield TrustFinding("source", evidence.source, reason, f"publish it from {_listed(rule.sources)}")


def _signatures(rule: TrustRule, evidence: TrustEvidence) -> Iterator[TrustFinding]:
    if not rule.asks_signature:
        return
    by = [
        ("a key of `signers`", rule.signers),
        ("a certificate of `authorities`", rule.authorities),
        ("an identity of `keyless`", rule.keyless),
    ]
    allowed = " or ".join(text for text, asked in by if asked)
    remedy = f"sign the whole version with {allowed}, under a new version's name"
    for path, reason in evidence.unsigned:
        yield TrustFinding("signatures", path, reason, remedy)
    if not rule.accepts(evidence.signer) and not evidence.unsigned:
        yield TrustFinding("signatures", "signature", f"it is not signed with {allowed}", remedy)


def _formats(rule: TrustRule, evidence: TrustEvidence) -> Iterator[TrustFinding]:
    for form, count in sorted(evidence.formats.items()):
        if rule.allows(form):
            continue
        named = evidence.examples.get(form, {})
        for path, why in sorted(named.items()):
            reason = f"format {form} is not allowed{f': {why}' if why else ''}"
            if form == MALFORMED:
                yield TrustFinding("formats", path, f"malformed: {why}", "bring the whole file there")
            else:
                yield TrustFinding("formats", path, reason, _remedy(path, form))
        if count > len(named):
            others = f"{count - len(named)} more files of format {form}"
            yield TrustFinding("formats", others, f"format {form} is not allowed", "as above")


def _remedy(path: str, form: str) -> str:
    kind = "" if form in DATA_ONLY else ", if you trust who made it"
    return f"save it as safetensors, leave out {json.dumps(path)}, or allow {json.dumps(form)} in `formats`{kind}"


def _card(rule: TrustRule, evidence: TrustEvidence) -> Iterator[TrustFinding]:
    licence = evidence.card.get("license", "").lower()
    if rule.licences and licence not in {each.lower() for each in rule.licences}:
        got = f"{licence!r}" if licence else "none in the front matter of README.md"
        reason = f"expected one of {_listed(rule.licences)}, got {got}"
        yield TrustFinding("licences", "licence", reason, "say the licence in README.md, under a new version's name")
    for key, value in sorted(rule.metadata.items()):
        found = evidence.card.get(key)
        if found != value:
            reason = f"expected {value!r}, got {'nothing' if found is None else repr(found)}"
            yield TrustFinding(
                "metadata", key, reason, f"say `{key}: {value}` in README.md, under a new version's name"
            )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))
