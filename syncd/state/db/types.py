"""Column types that SQLite and PostgreSQL store and compare alike."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator

from syncd.artifact.digest import Digest

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class TimestampType(TypeDecorator[datetime]):
    """An aware time, stored as microseconds since 1970 in UTC: SQLite has no type of its own for times."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: sa.Dialect) -> int | None:
        """Raises ValueError for a time without a zone: it would be off by hours on some machine."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone")
        return (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: Any, _dialect: sa.Dialect) -> datetime | None:
        return None if value is None else _EPOCH + value * _MICROSECOND


class EnumType(TypeDecorator[StrEnum]):
    """A value of an enum, stored as text."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, words: type[StrEnum] = StrEnum) -> None:
        super().__init__()
        self.words = words

    def process_bind_param(self, value: StrEnum | None, _dialect: sa.Dialect) -> str | None:
        return None if value is None else self.words(value).value

    def process_result_value(self, value: Any, _dialect: sa.Dialect) -> StrEnum | None:
        return None if value is None else self.words(value)


class JsonType(TypeDecorator[Any]):
    """JSON; on PostgreSQL its binary kind. That dialect is loaded only when that database is used."""

    impl = sa.JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        if dialect.name != "postgresql":
            return dialect.type_descriptor(sa.JSON())
        from sqlalchemy.dialects import postgresql  # noqa: PLC0415

        return dialect.type_descriptor(postgresql.JSONB())


class Sha256(TypeDecorator[Digest]):
    """A digest, stored as 64 hex digits."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Digest | None, _dialect: sa.Dialect) -> str | None:
        return None if value is None else value.hex

    def process_result_value(self, value: Any, _dialect: sa.Dialect) -> Digest | None:
        return None if value is None else Digest(value)


class ChecksumType(TypeDecorator[int]):
    """A CRC-64, stored as 16 hex digits: both databases' integers are signed and too small for half of them."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: int | None, _dialect: sa.Dialect) -> str | None:
        return None if value is None else f"{value:016x}"

    def process_result_value(self, value: Any, _dialect: sa.Dialect) -> int | None:
        return None if value is None else int(value, 16)
