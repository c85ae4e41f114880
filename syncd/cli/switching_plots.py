"""Plots of the switching test: one picture for each kind of storage that the platform's page has one for, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from statistics import median
from typing import Any, Final
from xml.sax.saxutils import escape

from syncd.cli.switching import CHECKPOINTS_GB, SwitchTime
from syncd.errors import Invalid

PICTURES: Final[Mapping[str, str]] = {
    "switching-nas.svg": "NAS, image layer (a directory)",
    "switching-oss.svg": "OSS mount",
}
"""The file of each picture, and the storage it shows."""

_LOADERS: Final = ("hash, then read", "syncd.serving")
_COLOURS: Final = {
    ("hash, then read", 1): "#b5651d",
    ("hash, then read", 2): "#e8b98a",
    ("syncd.serving", 1): "#31688e",
    ("syncd.serving", 2): "#8fb8d0",
}
_TURNS: Final = {1: "first switch", 2: "second switch"}
_LABEL, _BAR, _VALUE, _ROW, _GAP, _HEAD = 240, 420, 70, 11, 8, 76


def times_of(document: Any) -> list[SwitchTime]:
    """The times in what `syncd bench switching -o json` printed.

    Raises:
        Invalid: The document is another one.
    """
    names = [field.name for field in fields(SwitchTime)]
    try:
        return [_time(names, row) for row in document["times"]]
    except (KeyError, TypeError, ValueError) as error:
        hint = "make it with `syncd bench switching -o json`"
        raise Invalid("expected the JSON of the switching test, got another document", hint=hint) from error


def pictures(times: Sequence[SwitchTime]) -> dict[str, str]:
    """The pictures that the times suffice for, by file name: medians over the rounds."""
    there = {(each.storage, each.loader) for each in times}
    return {
        name: _picture(storage, times)
        for name, storage in PICTURES.items()
        if all((storage, loader) in there for loader in _LOADERS)
    }


def _time(names: Sequence[str], row: Mapping[str, Any]) -> SwitchTime:
    storage, loader, checkpoint, turn, size_bytes, seconds = (row[name] for name in names)
    return SwitchTime(str(storage), str(loader), str(checkpoint), int(turn), int(size_bytes), float(seconds))


def _picture(storage: str, times: Sequence[SwitchTime]) -> str:
    found = _medians(storage, times)
    longest_s = max(found.values())
    height = _HEAD + len(CHECKPOINTS_GB) * (len(_COLOURS) * _ROW + _GAP)
    width = _LABEL + _BAR + _VALUE
    title = f"Seconds to switch to each checkpoint: {storage}"
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" font-family="sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        '<rect width="100%" height="100%" fill="white"/>',
        _text(8, 20, title, ' font-weight="bold"'),
    ]
    for number, ((loader, turn), colour) in enumerate(_COLOURS.items()):
        x, y = 8 + number % 2 * 260, 32 + number // 2 * 18
        lines.append(f'<rect x="{x}" y="{y}" width="12" height="12" fill="{colour}"/>')
        lines.append(_text(x + 18, y + 10, f"{loader}: {_TURNS[turn]}"))
    y = _HEAD
    for checkpoint in CHECKPOINTS_GB:
        lines.append(_text(8, y + 2 * _ROW + 4, checkpoint))
        for loader, turn in _COLOURS:
            lines += _bar(y, found[checkpoint, loader, turn], longest_s, _COLOURS[loader, turn])
            y += _ROW
        y += _GAP
    return "\n".join([*lines, "</svg>", ""])


def _medians(storage: str, times: Sequence[SwitchTime]) -> dict[tuple[str, str, int], float]:
    by_bar: dict[tuple[str, str, int], list[float]] = {
        (checkpoint, *bar): [] for checkpoint in CHECKPOINTS_GB for bar in _COLOURS
    }
    for each in times:
        bar = (each.checkpoint, each.loader, each.round)
        if each.storage == storage and bar in by_bar:
            by_bar[bar].append(each.seconds)
    lacking = next((bar for bar, seconds in by_bar.items() if not seconds), None)
    if lacking:
        raise Invalid(f"{storage}: no time of switch {lacking[2]} to {lacking[0]} with {lacking[1]}")
    return {bar: median(seconds) for bar, seconds in by_bar.items()}


def _bar(y: int, seconds: float, longest_s: float, colour: str) -> list[str]:
    width = seconds / longest_s * _BAR if longest_s else 0
    return [
        f'<rect x="{_LABEL}" y="{y}" width="{width:.1f}" height="{_ROW - 1}" fill="{colour}"/>',
        _text(round(_LABEL + width) + 6, y + _ROW - 2, f"{seconds:.3f}", ' font-size="9"'),
    ]


def _text(x: int, y: int, text: str, style: str = "") -> str:
    return f'<text x="{x}" y="{y}"{style}>{escape(text)}</text>'
