"""Local OSS and Function Compute: HTTP servers on loopback with the wire format and refusals of the real services.

It imports nothing of the other packages but `artifact`, so that it stays an independent check on them.
"""

from pathlib import Path
from typing import Final

from syncd.localcloud.environment import LocalEnvironment
from syncd.localcloud.server import LocalCloud

__all__ = ["EXAMPLE_FUNCTION", "LocalCloud", "LocalEnvironment"]

EXAMPLE_FUNCTION: Final = Path(__file__).with_name("example_function.py")
