"""The list of generated files, and their content."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from syncd.api.openapi import DOCUMENT

from tools.reference.commands import page as commands_page
from tools.reference.http_api import page as api_page
from tools.reference.man import page as man_page
from tools.reference.settings import page as settings_page

ROOT: Final = Path(__file__).parents[2]
REFERENCE: Final = ROOT / "docs" / "reference"

PAGES: Final[Mapping[Path, Callable[[], str]]] = {
    REFERENCE / "cli.md": commands_page,
    REFERENCE / "configuration.md": lambda: settings_page((ROOT / "config.example.toml").read_text()),
    REFERENCE / "http-api.md": lambda: api_page(DOCUMENT),
    ROOT / "deploy" / "man" / "syncd.1": man_page,
    REFERENCE / "openapi.json": lambda: json.dumps(DOCUMENT, indent=2, ensure_ascii=False) + "\n",
}


def generated(path: Path) -> str:
    """The content that the generated file `path` must have."""
    return PAGES[path]()
