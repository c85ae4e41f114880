"""`python -m tools.client`: write the generated types of the client."""

from __future__ import annotations

from tools.client.documents import generated

for path, text in generated().items():
    path.write_text(text, encoding="utf-8")
