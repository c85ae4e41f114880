"""OSS on the wire: addressing, operation names, signatures, byte ranges, XML documents and responses."""

from syncd.localcloud.oss.protocol.request import OssCall
from syncd.localcloud.oss.protocol.signatures import authenticate

__all__ = ["OssCall", "authenticate"]
