"""The function of the demo: `syncd.serving` loads, checks and proves what is mounted, and answers the probe.

The local cloud runs it as a process of its own, by its path.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[3]))  # where syncd is, if this Python does not have it installed

from syncd import serving

serving.serve()
