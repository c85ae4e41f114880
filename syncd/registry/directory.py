"""A registry that is a directory: `<root>/<model>/<version>/`, complete when its marker says so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class DirectorySettings:
    """What is looked at. `settle_s` is how long a version that has only a marker must have been left alone."""

    root: Path
    models: tuple[str, ...] = ("*",)
    settle_s: float = 2.0
