"""Names of classes: one search finds one definition."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import syncd


def test_no_class_name_is_defined_twice() -> None:
    texts = [path.read_text() for path in Path(syncd.__file__).parent.rglob("*.py")]
    names = Counter(name for text in texts for name in re.findall(r"^class (\w+)", text, re.MULTILINE))
    assert [name for name, count in names.items() if count > 1] == []
