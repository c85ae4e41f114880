"""Trust settings: `[policy.trust]` with its rules for some models, and `[receipts]`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from syncd.config.fields import AbsolutePath, ModelPattern, SecretField, Table, shown, wrong
from syncd.config.problems import Problem, did_you_mean
from syncd.errors import Invalid
from syncd.trust.policy import FORMATS, KeylessAuthority, Mode, SigningAuthority, TrustPolicy, TrustRule

_Texts = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=200)], ...], Field(strict=False)]
_Mode = Literal["enforce", "warn", "off"]


def _format(value: object) -> object:
    if value in FORMATS:
        return value
    advice = 'expected "data-only" or the name of a format, such as "safetensors"'
    raise wrong(shown(value), advice + (did_you_mean(value, FORMATS) if isinstance(value, str) else ""))


_Formats = Annotated[tuple[Annotated[str, BeforeValidator(_format)], ...], Field(strict=False)]


def _file(value: object, advice: str, parse: Callable[[str], object]) -> str:
    """The text of the file that is named, which `parse` takes or refuses with Invalid."""
    path = Path(value) if isinstance(value, str) and "\0" not in value else Path()
    if not path.is_absolute():
        raise wrong(shown(value), advice)
    try:
        text = path.read_text(encoding="utf-8")
        parse(text)
    except Invalid as error:
        raise wrong(shown(value), f"{advice}; {error.message}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise wrong(shown(value), f"{advice}; it cannot be read") from error
    return text


def _signer(value: object) -> object:
    """The text of a public key, from the file that is named."""
    from syncd.trust.dsse import read_public  # noqa: PLC0415 -- cryptography, only where there are signers

    advice = "expected the absolute path of a public key, Ed25519 or ECDSA, as PEM"
    return _file(value, advice, lambda text: read_public(text.encode()))


_Signers = Annotated[tuple[Annotated[str, BeforeValidator(_signer)], ...], Field(strict=False)]


def _roots(value: object) -> object:
    """The text of root certificates, from the file that is named."""
    from syncd.trust.certificates import read_roots  # noqa: PLC0415 -- cryptography, only where there are any

    advice = "expected the absolute path of root certificates, as PEM"
    return _file(value, advice, lambda text: read_roots(text.encode()))


class AuthoritySettings(Table):
    """A certificate authority of signers, and the identities that its certificates may name."""

    roots: Annotated[str, BeforeValidator(_roots)]  # the text of their certificates
    identities: Annotated[_Texts, Field(min_length=1)]

    @property
    def authority(self) -> SigningAuthority:
        """The values for the trust package."""
        from syncd.trust.certificates import read_roots  # noqa: PLC0415 -- cryptography, only where there are any

        return SigningAuthority(read_roots(self.roots.encode()), self.identities)


def _trusted_root(value: object) -> object:
    """The text of a trusted root of Sigstore, from the file that is named."""
    try:
        from syncd.trust.keyless import read_trusted_root  # noqa: PLC0415 -- sigstore, only where it is configured
    except ModuleNotFoundError as error:
        raise wrong(shown(value), "keyless signatures need more: pip install 'syncd[server,sigstore]'") from error
    return _file(value, "expected the absolute path of a trusted root of Sigstore, as JSON", read_trusted_root)


class KeylessSettings(Table):
    """A Sigstore, and the identities that an issuer may vouch for."""

    trusted_root: Annotated[str, BeforeValidator(_trusted_root)]  # the text of it
    issuer: Annotated[str, Field(min_length=1, max_length=500)]
    identities: Annotated[_Texts, Field(min_length=1)]

    @property
    def authority(self) -> KeylessAuthority:
        """The values for the trust package."""
        digest = hashlib.sha256(self.trusted_root.encode()).hexdigest()
        return KeylessAuthority(self.trusted_root, digest, self.issuer, self.identities)


class _Requirements(Table):
    """Requirements; an empty one asks for nothing."""

    formats: _Formats = ()
    sources: _Texts = ()  # names of registries
    licences: _Texts = ()
    metadata: Mapping[str, Annotated[str, Field(max_length=500)]] = Field(default_factory=dict)
    signers: _Signers = ()  # files of public keys, of which one has to have signed
    authorities: Annotated[tuple[AuthoritySettings, ...], Field(strict=False)] = ()  # or a certificate of one of these
    keyless: Annotated[tuple[KeylessSettings, ...], Field(strict=False)] = ()  # or an identity of one of these

    def rule(self, models: tuple[str, ...], mode: str) -> TrustRule:
        """The values for the trust package."""
        return TrustRule(
            models,
            Mode(mode),
            self.formats,
            self.sources,
            self.licences,
            dict(self.metadata),
            _by_id(self.signers),
            tuple(each.authority for each in self.authorities),
            tuple(each.authority for each in self.keyless),
        )


def _by_id(signers: tuple[str, ...]) -> dict[str, str]:
    if not signers:
        return {}
    from syncd.trust.dsse import key_id_of, read_public  # noqa: PLC0415 -- cryptography, only where there are signers

    return {key_id_of(read_public(text.encode())): text for text in signers}


class TrustRuleSettings(_Requirements):
    """Requirements for some models, in place of those of the table."""

    models: Annotated[tuple[ModelPattern, ...], Field(strict=False, min_length=1)]
    mode: _Mode | None = None  # default: that of the table


class TrustSettings(_Requirements):
    """Requirements for every model that no rule selects. The first rule that selects a model applies."""

    mode: _Mode
    rules: Annotated[tuple[TrustRuleSettings, ...], Field(strict=False)] = ()

    @property
    def policy(self) -> TrustPolicy:
        """The values for the trust package."""
        own = [rule.rule(rule.models, rule.mode or self.mode) for rule in self.rules]
        return TrustPolicy((*own, self.rule(("*", "*/*"), self.mode)))

    def sources_named(self) -> tuple[str, ...]:
        """Every registry that is named."""
        return (*self.sources, *(name for rule in self.rules for name in rule.sources))


class ReceiptSettings(Table):
    """The key that signs receipts: a private key, or a program that asks a KMS, with the public key of that."""

    key: SecretField | None = None
    signer: _Texts = ()
    public_key: AbsolutePath | None = None

    @property
    def is_set(self) -> bool:
        """Whether receipts can be signed."""
        return self.key is not None or bool(self.signer)

    def problems(self) -> Iterator[Problem]:
        """What does not fit together."""
        if self.key is not None and self.signer:
            yield Problem("receipts.signer", shown(list(self.signer)), "leave out `receipts.key`, or this")
        if self.signer and self.public_key is None:
            yield Problem("receipts.public_key", "nothing", "expected the file of the signer's public key")
