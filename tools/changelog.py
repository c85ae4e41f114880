"""Changelog of the version in `pyproject.toml`: moves the fragments of `changes/` into `CHANGELOG.md`.

towncrier renders the fragments. A version that is in the changelog already gets them added to its section, so that a
version in preparation can be brought up to date any number of times.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
_MARK: Final = "<!-- the newest version is below -->\n"
_PART: Final = re.compile(r"(?m)^### (.+)\n\n((?:(?!### ).*\n?)*)")


def merged(changelog: str, section: str, order: list[str]) -> str:
    """`changelog` with `section`, a rendered version, added: as its newest version, or to the section of that version.

    `order` has the titles of the parts of a section, such as "Fixes".
    """
    title = section.partition("\n")[0]
    version = title.split()[1]
    above, _, below = changelog.partition(_MARK)
    old = re.search(rf"(?ms)^## {re.escape(version)} .*?(?=^## |\Z)", below)
    if old is None:
        return f"{above}{_MARK}\n{section.strip()}\n\n{below.strip()}\n"
    parts = {name: text.strip() for name, text in _PART.findall(old[0])}
    for name, text in _PART.findall(section):
        parts[name] = "\n".join(filter(None, (parts.get(name, ""), text.strip())))
    names = sorted(parts, key=lambda name: order.index(name) if name in order else len(order))
    body = "\n\n".join(f"### {name}\n\n{parts[name]}" for name in names)
    return f"{above}{_MARK}{below[: old.start()]}{title}\n\n{body}\n\n{below[old.end() :]}".rstrip() + "\n"


def main() -> None:
    """Merge the fragments and delete them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    fragments = [path for path in (ROOT / "changes").glob("*.md") if path.name != "README.md"]
    if not fragments:
        return
    command = [sys.executable, "-m", "towncrier", "build", "--draft", "--version", settings["project"]["version"]]
    section = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    order = [kind["name"] for kind in settings["tool"]["towncrier"]["type"]]
    page = ROOT / "CHANGELOG.md"
    page.write_text(merged(page.read_text(), section[section.index("## ") :], order))
    for path in fragments:
        path.unlink()


if __name__ == "__main__":
    main()
