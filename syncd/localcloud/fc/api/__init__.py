"""Function Compute's HTTP API: ACS3 signatures, routes, and one handler for each operation."""

from syncd.localcloud.fc.api.acs3 import SignedCall, verify
from syncd.localcloud.fc.api.service import FcCall, FunctionService, Reply

__all__ = ["FcCall", "FunctionService", "Reply", "SignedCall", "verify"]
