"""`python -m tests.faults DIRECTORY`: print docs/faults.md, made of the reports of a run of the cells."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.faults.page import page_of, reported

sys.stdout.write(page_of(reported(Path(sys.argv[1]))))
