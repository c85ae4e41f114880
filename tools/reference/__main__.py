"""`python -m tools.reference`: write the generated reference pages."""

from __future__ import annotations

from tools.reference.write import PAGES, generated

for path in PAGES:
    path.write_text(generated(path), encoding="utf-8")
