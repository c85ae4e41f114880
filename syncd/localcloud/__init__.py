"""Local OSS and Function Compute: HTTP servers on loopback with the wire format and refusals of the real services.

It imports nothing of the other packages but `artifact`, so that it stays an independent check on them.
"""

from syncd.localcloud.environment import LocalEnvironment
from syncd.localcloud.server import LocalCloud

__all__ = ["LocalCloud", "LocalEnvironment"]
