"""Rendering: the templates, how values are written in them, and the headers of every page."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import jinja2
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse, Response

from syncd.api.responses import ALWAYS

_HERE: Final = Path(__file__).parent
_TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Final = {
    **ALWAYS,
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
_COMMAND: Final = re.compile(r"`([^`]+)`")
_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"))


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that pages load. It is served under its hash, so it may be kept for ever."""

    content: bytes
    media_type: str
    path: str

    @classmethod
    def read(cls, file: Path) -> Asset:
        """The asset in a file of the package."""
        content = file.read_bytes()
        digest = hashlib.sha256(content).hexdigest()[:12]
        return cls(content, _TYPES[file.suffix], f"/ui/static/{digest}/{file.name}")


def assets() -> dict[str, Asset]:
    """The assets by name."""
    return {file.name: Asset.read(file) for file in sorted((_HERE / "static").iterdir()) if file.suffix in _TYPES}


@dataclass(frozen=True)
class Pages:
    """Renders pages. Safe from several threads."""

    assets: Mapping[str, Asset]
    _templates: jinja2.Environment = field(default_factory=lambda: _environment())  # noqa: PLW0108 -- defined below

    def page(self, name: str, values: Mapping[str, Any], status: int = 200) -> Response:
        """A page with the headers of all pages. Every value is escaped."""
        return HTMLResponse(self.text(name, values), status, headers=HEADERS)

    def text(self, name: str, values: Mapping[str, Any]) -> str:
        """The text of a page or of a part of one."""
        paths = {each: asset.path for each, asset in self.assets.items()}
        return self._templates.get_template(f"{name}.html").render(assets=paths, **values)


def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {"age": age, "size": size, "when": when, "commands": commands, "span": span}
    return made


def when(moment: datetime | None) -> Markup:
    """A moment in UTC, to the second."""
    if moment is None:
        return Markup("–")
    at = moment.astimezone(UTC)
    return Markup('<time datetime="{}">{} UTC</time>').format(at.isoformat(), f"{at:%Y-%m-%d %H:%M:%S}")


def age(moment: datetime | None, now: datetime) -> str:
    """How long ago a moment was."""
    return "–" if moment is None else span((now - moment).total_seconds())


def span(seconds: float | None) -> str:
    """A time in its largest unit."""
    if seconds is None:
        return "–"
    for length, unit in _UNITS:
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{max(0, int(seconds))} s"


def size(size_bytes: float | None) -> str:
    """Bytes in decimal units, as clouds bill them."""
    if size_bytes is None:
        return "–"
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"


def commands(text: str) -> Markup:
    """Text whose commands stand in backticks, with these as code."""
    return Markup(_COMMAND.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 -- escaped just before
