"""`python -m tools.sbom`: write the bill of materials."""

from __future__ import annotations

from tools.sbom.bill import BILL, bill

BILL.parent.mkdir(parents=True, exist_ok=True)
BILL.write_text(bill(), encoding="utf-8")
