"""Probe settings: the requests before a version serves, and the prewarmed instances."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, model_validator

from syncd.config.fields import AbsolutePath, Seconds, Table, shown, wrong
from syncd.errors import Invalid
from syncd.runtime import paths

_BODY_BYTES_MAX: Final = 4 << 20  # × 20 requests = 80 MiB of a process, for each binding
_DURATION: Final = re.compile(r"(\d{1,6})(s|m|h)")
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600}
_DURATION_MAX_S: Final = 30 * 86400


def _duration(value: object) -> float:
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    seconds = int(match[1]) * _UNITS_S[match[2]] if match else 0 if value == "0" else None
    if seconds is None or seconds > _DURATION_MAX_S:
        raise wrong(shown(value), 'expected a time such as "30m", "45s" or "2h", or "0" for none')
    return float(seconds)


def _path(value: object) -> str:
    advice = 'expected a path into the answer\'s JSON such as "images[0].seed"'
    if not isinstance(value, str):
        raise wrong(shown(value), advice)
    try:
        paths.parse(value)
    except Invalid as error:
        raise wrong(shown(value), advice) from error
    return value


def _path_or_none(value: object) -> str:
    return "" if value == "" else _path(value)


def _expected(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise wrong(shown(value), 'expected a table such as { "images[0].seed" = 7 }')
    for path, want in value.items():
        _path(path)
        _comparable(want)
    return dict(value)


def _comparable(want: object) -> None:
    """Check that JSON can represent a value: no dates, no NaN or infinity."""
    if isinstance(want, Mapping | list):
        for inner in want.values() if isinstance(want, Mapping) else want:
            _comparable(inner)
    elif not isinstance(want, str | int | float) or (isinstance(want, float) and not math.isfinite(want)):
        raise wrong(shown(want), "expected text, true, false, a finite number, a list or a table: what JSON can hold")


def _status(value: object) -> int:
    if value != 200:
        advice = (
            "expected 200: the platform reports only whether a function failed; use `fails = true` to expect a failure"
        )
        raise wrong(shown(value), advice)
    return 200


Duration = Annotated[float, BeforeValidator(_duration)]
"""A time such as "30m", in seconds; 0 for none."""
JsonPath = Annotated[str, BeforeValidator(_path_or_none)]
"""A path into JSON, or empty."""


class GoldenSettings(Table):
    """A request with a known answer."""

    name: Annotated[str, Field(max_length=64)] = ""  # for messages; default: golden[<its index in the list>]
    body: str = "{}"
    body_file: AbsolutePath | None = None
    status: Annotated[int, BeforeValidator(_status)] = 200
    expected: Annotated[Mapping[str, Any], BeforeValidator(_expected), Field(alias="json")] = {}
    tolerance: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] = 0.0
    fails: bool = False

    @model_validator(mode="after")
    def _whole(self) -> GoldenSettings:
        if self.body_file and "body" in self.model_fields_set:
            raise wrong("`body` and `body_file`", "expected one of them")
        if self.fails and self.expected:
            raise wrong("`json` beside `fails = true`", "leave it out: the answer of a failing function is not checked")
        return self

    @property
    def request(self) -> bytes:
        """The bytes to send. Raises Invalid if the file was removed after the settings were read."""
        if self.body_file is None:
            return self.body.encode()
        try:
            return self.body_file.read_bytes()
        except OSError as error:
            raise Invalid(f"{self.body_file} cannot be read: {error.strerror}") from error


class LatencySettings(Table):
    """Latency limit of the answers."""

    calls: Annotated[int, Field(ge=1, le=1000)] = 20
    p95_s: Seconds


class ProbeSettings(Table):
    """The requests that a new function version must answer before traffic moves."""

    body: str = "{}"
    timeout_s: Seconds = 60.0
    golden: Annotated[tuple[GoldenSettings, ...], Field(strict=False, max_length=20)] = ()
    latency: LatencySettings | None = None
    load_path: JsonPath = ""


def body_file_problem(path: Path) -> str:
    """The reason that this file cannot be read as a request; "" if it can."""
    try:
        size_bytes = path.stat().st_size
        with path.open("rb"):
            pass
    except OSError as error:
        return f"that file cannot be read: {error.strerror}"
    return "" if size_bytes <= _BODY_BYTES_MAX else f"it has {size_bytes} bytes; expected at most {_BODY_BYTES_MAX}"
