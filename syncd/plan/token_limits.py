"""Limits of an API token, beside its role: until when, for which models, from where, how often."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network
from typing import Final

from syncd.artifact.names import MODEL_MAX
from syncd.errors import Invalid
from syncd.values.patterns import selects

PER_MINUTE_MAX: Final = 1_000_000
LASTS_MAX: Final = timedelta(days=10 * 365)
_PATTERN: Final = re.compile(r"[A-Za-z0-9*][A-Za-z0-9._*-]*(/[A-Za-z0-9*][A-Za-z0-9._*-]*)?")
_LASTS: Final = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, slots=True)
class TokenLimits:
    """What a token is limited to; an empty value limits nothing.

    `models` are names and patterns, `networks` are addresses and CIDR blocks, `per_minute` is a number of requests.
    """

    ends_at: datetime | None = None
    models: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    per_minute: int = 0

    def __post_init__(self) -> None:
        for pattern in self.models:
            if len(pattern) > MODEL_MAX or not _PATTERN.fullmatch(pattern):
                raise Invalid(f"expected a model or a pattern such as 'team/*', got {pattern[:80]!r}")
        for network in self.networks:
            try:
                ip_network(network)
            except ValueError as error:
                hint = "write an address, or a block without host bits"
                raise Invalid(f"expected an address such as 10.0.0.0/8, got {network[:80]!r}", hint=hint) from error
        if not 0 <= self.per_minute <= PER_MINUTE_MAX:
            raise Invalid(f"expected 1 to {PER_MINUTE_MAX} requests a minute, got {self.per_minute}")

    def __bool__(self) -> bool:
        return self != NO_LIMITS

    def is_ended(self, now: datetime) -> bool:
        """Whether the token's time is over."""
        return self.ends_at is not None and now >= self.ends_at

    def selects(self, model: str) -> bool:
        """Whether the token is for this model."""
        return not self.models or any(selects(pattern, model) for pattern in self.models)

    def admits(self, address: str) -> bool:
        """Whether the token may be used from this address. An address that is not known is not admitted."""
        if not self.networks:
            return True
        try:
            found = ip_address(address)
        except ValueError:
            return False
        mapped = getattr(found, "ipv4_mapped", None) or found  # a server on both families sees ::ffff:10.0.0.7
        return any(mapped in ip_network(network) for network in self.networks)

    def as_json(self) -> dict[str, object]:
        """Its value in the record: only what limits something."""
        found = {
            "ends_at": self.ends_at.isoformat() if self.ends_at else None,
            "models": list(self.models),
            "networks": list(self.networks),
            "per_minute": self.per_minute,
        }
        return {key: value for key, value in found.items() if value}

    @classmethod
    def of_json(cls, found: Mapping[str, object]) -> TokenLimits:
        """The limits of a value of the record.

        Raises:
            Invalid: It has another shape, or a limit that this release does not know: the token is not usable here.
        """
        try:
            known = {key: found.get(key) for key in ("ends_at", "models", "networks", "per_minute")}
            if found.keys() - known:
                raise Invalid(f"a token has the unknown limit {min(found.keys() - known)!r}", hint="upgrade syncd")
            ends_at, per_minute = known["ends_at"], known["per_minute"]
            return cls(
                datetime.fromisoformat(str(ends_at)) if ends_at else None,
                _texts(known["models"]),
                _texts(known["networks"]),
                int(str(per_minute or 0)),
            )
        except (ValueError, TypeError) as error:
            raise Invalid(f"the limits of a token are not readable: {error}") from error


def _texts(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise TypeError(f"expected a list, got {value!r}")
    return tuple(str(each) for each in value)


def parse_lasts(text: str) -> timedelta:
    """Parse how long a token lasts: `90s`, `30m`, `12h`, `30d`.

    Raises:
        Invalid: It is not such a time, or is more than ten years.
    """
    match = _LASTS.fullmatch(text)
    lasts = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else timedelta()
    if not timedelta() < lasts <= LASTS_MAX:
        raise Invalid(f"expected a time such as 12h or 30d, at most ten years, got {text[:40]!r}")
    return lasts


NO_LIMITS: Final = TokenLimits()
