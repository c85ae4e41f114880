"""The page that lists how a release ends under each fault: made from the results of the cells."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.faults.cells import cells
from tests.support.docs import ROOT

PAGE: Final = ROOT / "docs" / "faults.md"
LIVE: Final = "live"
_HEAD: Final = """# How a release ends under each fault

A release over three regions, two on OSS and one on NAS, with one function each; and one fault of the local cloud on one
kind of call, once or for as long as it lasts. This table is made from what happened:

```sh
SYNCD_TESTS=long SYNCD_FAULT_REPORT=/tmp/faults .venv/bin/python -m pytest tests/faults/test_every_fault.py
.venv/bin/python -m tests.faults /tmp/faults > docs/faults.md
```

`make long` plays every cell, `make test` some for every fault and every call. Both fail where a cell ends live and the
table says otherwise, or the other way about. In each cell the record says what the world is; no alias is half-moved,
none has a share left, and no reader ever sees a wrong byte. What is not live says why, and publishing again when the
fault is over ends live.

| ends | is |
| --- | --- |
| live | every region serves the new version |
| stalled | given up before any alias was moved; every region serves the old one |
| undone | given up in the middle: every alias is back, and the model is on hold |
| undone, late | the same, but an alias could not be moved back until the fault was over |

"After the first flip" and "at a share" begin when one alias has been moved; "though applied" and "answer lost" are
faults of the answer: the call had its effect.

| call | fault | once | always |
| --- | --- | --- | --- |
"""


def page_of(ends: Mapping[str, str]) -> str:
    """The page, given how each cell ended by its name."""
    rows = [f"| {c.call} | {c.what} | {ends[c.name]} | " for c in cells() if c.often == "once"]
    always = [f"{ends[c.name]} |\n" for c in cells() if c.often == "always"]
    return _HEAD + "".join(once + ever for once, ever in zip(rows, always, strict=True))


def ends_of(page: str) -> dict[str, str]:
    """How each cell ended by its name, given the page."""
    found: dict[str, str] = {}
    for line in page.removeprefix(_HEAD).splitlines():
        call, what, once, always = (word.strip() for word in line.strip("|").split("|"))
        found |= {f"{call} {what} once": once, f"{call} {what} always": always}
    return found


def reported(directory: Path) -> dict[str, str]:
    """How each cell ended by its name, by the reports of a run."""
    rows: list[dict[str, Any]] = [
        json.loads(line) for file in sorted(directory.glob("*.jsonl")) for line in file.read_text().splitlines()
    ]
    return {row["cell"]: row["phase"] + (", late" if row["undone_after_the_fault"] else "") for row in rows}
